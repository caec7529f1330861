import { describe, expect, it } from 'vitest'
import { chartPanels } from '../../bench/chart.ts'
import { parseOptions } from '../../bench/options.ts'
import { PEER_NAMES } from '../../bench/peers/peer.ts'
import { BARS, QUESTION_NAMES, QUESTIONS } from '../../bench/questions.ts'
import { barRows, formatNumber, formatReport, formatTables } from '../../bench/report.ts'
import { judge, Results } from '../../bench/results.ts'
import { type BarPanel, formatChart } from '../../bench/svg.ts'

const ALL = { questions: QUESTION_NAMES, systems: PEER_NAMES }

/** Three rounds of bulk TCP: 0.9 of the kernel in the median. */
function someResults(): Results {
  const results = new Results()
  for (const [round, [ours, kernel]] of [
    [18, 20],
    [17, 20],
    [19, 19],
  ].entries()) {
    results.add('tcp', 'tapline', round, { gbit: ours!, cpuSPerGb: 1 })
    results.add('tcp', 'kernel-bridge', round, { gbit: kernel! })
  }
  return results
}

describe('questions', () => {
  it('every bar is about a question that is put to both systems', () => {
    for (const { question, of, against = of } of BARS) {
      expect(QUESTIONS[question].peers).toContain(of)
      expect(QUESTIONS[question].peers).toContain(against)
    }
  })
})

describe('judge', () => {
  it('holds the quotient of medians against the bar', () => {
    const judged = judge(someResults(), ALL, 'io_uring')
    expect(judged).toHaveLength(BARS.length)
    expect(judged[0]).toMatchObject({ verdict: 'pass', value: 18, reference: 20 })
    expect(judged[0]!.ratio!.ratio).toBeCloseTo(0.9)
    expect(judged[0]!.ratio!.min).toBeCloseTo(0.85)
    expect(judged[0]!.ratio!.max).toBeCloseTo(1)
  })

  it('fails what is below, and says what was not measured', () => {
    const results = new Results()
    results.add('tcp', 'tapline', 0, { gbit: 8 })
    results.add('tcp', 'kernel-bridge', 0, { gbit: 10 })
    results.add('fleet', 'tapline', 0, { idleCpuPct: 1.5, rssMb: 80, leftovers: 0 })
    const judged = judge(results, ALL, 'io_uring')
    const verdictOf = (question: string, metric: string): string | undefined =>
      judged.find(({ bar }) => bar.question === question && bar.metric === metric)?.verdict
    expect(judged[0]!.verdict).toBe('FAIL')
    expect(verdictOf('fleet', 'idleCpuPct')).toBe('FAIL')
    expect(verdictOf('fleet', 'leftovers')).toBe('pass')
    expect(verdictOf('fleet', 'rssMb')).toBe('told')
    expect(verdictOf('fleet', 'upS')).toBe('not measured')
    expect(verdictOf('tcp8', 'gbit')).toBe('not measured')
  })

  it('does not ask the poll engine for small frames', () => {
    const results = new Results()
    for (const peer of QUESTIONS.frames.peers) results.add('frames', peer, 0, { kFrames: 300 })
    const verdicts = (engine: string): string[] =>
      judge(results, ALL, engine)
        .filter(({ bar }) => bar.question === 'frames')
        .map(({ verdict }) => verdict)
    expect(verdicts('io_uring')).toEqual(['pass', 'FAIL', 'FAIL'])
    expect(verdicts('poll')).toEqual(['not asked', 'not asked', 'not asked'])
  })

  it('judges only what was asked for', () => {
    const asked = { questions: ['tcp'], systems: ['tapline', 'kernel-bridge'] } as const
    expect(judge(new Results(), asked, 'io_uring')).toHaveLength(1)
  })

  it('keeps rounds aligned when one failed', () => {
    const results = new Results()
    results.add('tcp', 'tapline', 1, { gbit: 9 })
    expect(results.values('tcp', 'tapline', 'gbit')).toEqual([Number.NaN, 9])
  })
})

describe('text', () => {
  it('writes three digits', () => {
    expect([0.0123, 1.234, 12.34, 123.4, Number.NaN].map(formatNumber)).toEqual([
      ...['0.01', '1.23', '12.3', '123', '-'],
    ])
  })

  it('aligns the columns of the terminal', () => {
    const judged = judge(someResults(), ALL, 'io_uring')
    const lines = formatTables(judged, []).trimEnd().split('\n')
    expect(lines).toHaveLength(1 + BARS.length)
    const at = lines[0]!.indexOf('tapline')
    expect(lines[1]!.slice(at)).toMatch(/^18\.0 Gbit\/s +20\.0 kernel veth \+ bridge +0\.90 \(/)
    expect(lines[1]).toMatch(/>= 0\.88 +pass$/)
  })

  it('shows a dash where nothing was measured', () => {
    const row = barRows(judge(new Results(), ALL, 'io_uring'))[0]!
    expect(row.slice(1, 4)).toEqual(['- Gbit/s', '- kernel veth + bridge', '-'])
  })

  it('reports settings, systems, bars, figures, pieces and failures', () => {
    const results = someResults()
    results.failures.push('tcp of vde, round 1: no luck')
    const text = formatReport({
      options: parseOptions(['--rounds', '3'], 2),
      outcome: {
        results,
        about: new Map([['kernel-bridge', 'Linux 6']]),
        engine: 'io_uring',
        pieces: [
          { name: 'checksum', unit: 'ns', median: 12.5, least: 11 },
          { name: 'connection', unit: 'octets', median: 160 },
        ],
        skipped: ['ovs: install openvswitch-switch to measure it'],
      },
      machine: {
        cpu: '2 x CPU',
        memoryGb: 8,
        kernel: 'Linux 6',
        node: 'v20',
        iperf3: 'iperf 3.12',
        congestionControl: 'bbr',
        commit: 'abc',
        date: '2026-01-01',
        load: 0,
      },
      judged: judge(results, ALL, 'io_uring'),
      chart: 'results.svg',
    })
    for (const part of [
      ...[
        '![Medians of all systems](results.svg)',
        '| commit | abc |',
        '3 rounds, 5 s each',
        'control bbr',
      ],
      ...['client 0, server 1, system under test 0-1', '| kernel veth + bridge | Linux 6 |'],
      ...['| 0.90 (0.85-1.00) | >= 0.88 | pass |', '18.0 (17.0 to 19.0)', '| checksum | 12.5 ns |'],
      ...['| checksum | 12.5 ns | 11.0 ns |', '| connection | 160 octets |  |'],
      ...['* Failed: tcp of vde, round 1: no luck', '* ovs: install openvswitch-switch'],
    ]) {
      expect(text).toContain(part)
    }
  })
})

describe('chart', () => {
  it('draws a bar a system in proportion, and escapes labels', () => {
    const row = { min: 1, max: 4, ours: false }
    const svg = formatChart(
      'a < b',
      [
        {
          title: 'speed',
          unit: 'Gbit/s & more',
          rows: [
            { ...row, label: '<one>', median: 4 },
            { ...row, label: 'two', median: 2, ours: true },
          ],
        },
      ],
      formatNumber,
    )
    const widths = [...svg.matchAll(/class="bar[^"]*" x="\d+" y="\d+" width="([\d.]+)"/g)]
    expect(widths).toHaveLength(2)
    expect(Number(widths[0]![1])).toBeCloseTo(2 * Number(widths[1]![1]), 0)
    expect(svg).toContain('&lt;one&gt;')
    expect(svg).toContain('Gbit/s &amp; more')
    expect(svg).toContain('prefers-color-scheme: dark')
    expect(svg).not.toMatch(/NaN|undefined/)
    const opened = [...svg.matchAll(/<(svg|text|title|style)\b/g)].length
    expect([...svg.matchAll(/<\/(svg|text|title|style)>/g)]).toHaveLength(opened)
  })

  it('draws frames through NAT as a curve over the flows', () => {
    const results = new Results()
    const kFrames = { kFrames: 400, kFrames100: 390, kFrames10k: 300, kFrames100k: 200 }
    results.add('frames-nat', 'tapline-nat', 0, kFrames)
    results.add('frames-nat', 'kernel-nat', 0, { kFrames: 100, kFrames100k: 50 })
    const panels = chartPanels(results)
    expect(panels).toHaveLength(1)
    const svg = formatChart('flows', panels, formatNumber)
    const curves = [...svg.matchAll(/<polyline class="([^"]+)"[^>]* points="([^"]+)"/g)]
    const points = curves.map(([, , text]) =>
      text!.split(' ').map((at) => at.split(',').map(Number)),
    )
    expect(curves.map(([, kind]) => kind)).toEqual(['curve ours', 'curve'])
    const [ours, kernel] = points
    // Logarithmic: a decade is as wide anywhere. A higher figure is further up.
    const decade = (ours![3]![0]! - ours![0]![0]!) / 5
    expect(ours!.map(([x]) => Math.round((x! - ours![0]![0]!) / decade))).toEqual([0, 2, 4, 5])
    expect(kernel!.map(([x]) => x)).toEqual([ours![0]![0], ours![3]![0]])
    const unit = (kernel![1]![1]! - ours![0]![1]!) / 350
    expect(ours!.map(([, y]) => Math.round(400 - (y! - ours![0]![1]!) / unit))).toEqual([
      ...[400, 390, 300, 200],
    ])
    for (const text of ['1 flow', '10,000', '100,000', '390', '50.0']) {
      expect(svg).toContain(`>${text}</text>`)
    }
    expect(Number(/height="(\d+)"/.exec(svg)![1])).toBeGreaterThan(200)
    expect(svg).not.toMatch(/NaN|undefined|Infinity/)
  })

  it('has a panel for each question that was answered', () => {
    const panels = chartPanels(someResults())
    expect(panels.map(({ title }) => title)).toEqual([QUESTIONS.tcp.title])
    const { rows } = panels[0] as BarPanel
    expect(rows.map(({ median }) => median)).toEqual([18, 20])
    expect(rows[0]!.ours).toBe(true)
  })
})
