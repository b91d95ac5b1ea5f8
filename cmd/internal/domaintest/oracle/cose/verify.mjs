// Usage: node verify.mjs STATEMENT KEYS
//
// STATEMENT is a transparent statement (COSE_Sign1 with receipts in header 394). KEYS is a JSON array of
// {"kid": hex, "jwk": {…}}: the issuer's and the log's receipt keys. Prints one JSON line and exits 0 if the issuer's
// signature and every receipt verify, 1 if not, 3 if it was called wrongly.
import { readFileSync } from 'node:fs'
import * as cose from '@transmute/cose'

if (process.argv.length !== 4) {
  console.error('usage: node verify.mjs STATEMENT KEYS')
  process.exit(3)
}
const statement = readFileSync(process.argv[2])
const keys = new Map(JSON.parse(readFileSync(process.argv[3], 'utf8')).map((k) => [k.kid, k.jwk]))

const resolve = async (message) => {
  const { value } = cose.cbor.decodeFirstSync(message)
  const kid = cose.cbor.decodeFirstSync(value[0]).get(4)
  const jwk = keys.get(Buffer.from(kid).toString('hex'))
  if (!jwk) throw new Error('no key for kid')
  return jwk
}

try {
  const { value } = cose.cbor.decodeFirstSync(statement)
  const digest = value[2]
  const verifier = await cose.receipt.verifier({ resolve })
  const verified = await verifier.verify({ coseSign1: statement, payload: digest })
  if (verified.receipts.length === 0) throw new Error('no receipt')
  const registered = Buffer.from(await cose.receipt.remove(statement)).toString('hex')
  console.log(JSON.stringify({ ok: true, receipts: verified.receipts.length, registered }))
} catch (e) {
  console.log(JSON.stringify({ ok: false, error: String(e.message ?? e) }))
  process.exit(1)
}
