/** The part of the API about names. */
import { StackError } from '../stack/errors.ts'
import type { Handler } from './api.ts'

export const DNS_HANDLERS: Readonly<Record<string, Handler>> = {
  'GET /v1/dns': ({ controller }) => controller.names(),
  'GET /v1/dns/cache': ({ controller }) => controller.namesCache(),
  'POST /v1/dns/flush': ({ controller }) => ({ flushed: controller.flushNames() }),
  'GET /v1/dns/resolve?from&name&type': ({ controller }, query) => {
    const [from, name, type] = [query.get('from'), query.get('name'), query.get('type')]
    if (from === null || name === null) {
      throw new StackError('bad-argument', 'wanted ?from=SANDBOX&name=NAME')
    }
    return controller.resolveName({ from, name, ...(type !== null && { type }) })
  },
}
