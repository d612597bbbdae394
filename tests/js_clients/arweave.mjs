// What the npm package `arweave` reads of an item, and an item that `@dha-team/arbundles` makes and checks.
// node arweave.mjs PORT ID JWK-FILE → one line of JSON.
import { readFileSync } from 'node:fs'
import Arweave from 'arweave'
import { ArweaveSigner, DataItem, createData } from '@dha-team/arbundles'

const [port, id, jwkFile] = process.argv.slice(2)
console.warn = console.error // its fallback notice
const arweave = Arweave.init({ host: '127.0.0.1', port: Number(port), protocol: 'http' })
const base = `http://127.0.0.1:${port}`

const transaction = await arweave.transactions.get(id)
const status = await arweave.transactions.getStatus(id)
const query = 'query ($ids: [ID!]) { transactions(ids: $ids) { edges { node { id data { size } } } } }'
const graphql = (await arweave.api.post('graphql', { query, variables: { ids: [id] } })).data

const signer = new ArweaveSigner(JSON.parse(readFileSync(jwkFile)))
const made = createData('from node', signer, { tags: [{ name: 'Made-By', value: 'arbundles' }] })
await made.sign(signer)
const headers = { 'content-type': 'application/octet-stream' }
const posted = await fetch(`${base}/tx`, { method: 'POST', body: made.getRaw(), headers })
const raw = Buffer.from(await (await fetch(`${base}/tx/${made.id}/item`)).arrayBuffer())
const unknown = await arweave.transactions.getStatus('A'.repeat(43))

console.log(JSON.stringify({
  id: transaction.id,
  tags: transaction.tags.map((tag) => [tag.get('name', { decode: true, string: true }), tag.get('value', { decode: true, string: true })]),
  owner: await arweave.wallets.ownerToAddress(transaction.owner),
  text: Buffer.from(transaction.data).toString(),
  data: await arweave.transactions.getData(id, { decode: true, string: true }),
  status,
  graphql,
  info: await arweave.network.getInfo(),
  current: (await arweave.blocks.getCurrent()).height,
  block: (await arweave.blocks.get(status.confirmed.block_indep_hash)).txs,
  anchor: await arweave.transactions.getTransactionAnchor(),
  price: await arweave.transactions.getPrice(1000),
  balance: await arweave.wallets.getBalance('A'.repeat(43)),
  made: { id: made.id, posted: await posted.json(), verifies: await DataItem.verify(raw) },
  headers: Object.fromEntries((await fetch(`${base}/${id}`)).headers),
  unknown: unknown.status,
}))
