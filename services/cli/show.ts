/** What commands share whose answer is a list: ask, and print it as a table or as JSON. */
import type { Query } from '../client.ts'
import { type DaemonOptions, openClient } from './command.ts'
import { print, printJson } from './output.ts'
import { type Column, table } from './table.ts'

export interface View<Row> {
  readonly path: string
  readonly query?: Query
  readonly columns: readonly Column<Row>[]
}

/** Ask once. @throws StackError */
export async function show<Row>(
  options: DaemonOptions,
  { path, query, columns }: View<Row>,
): Promise<void> {
  const client = await openClient(options)
  const rows = await client.get<Row[]>(path, query)
  if (options.json) printJson(rows)
  else print(table(columns, rows))
}
