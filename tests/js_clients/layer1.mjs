// The npm package `arweave`, unmodified, makes layer-1 transactions: node layer1.mjs PORT WALLET → JSON of what it saw.
import fs from 'node:fs'
import imported from 'arweave'

const Arweave = imported.default ?? imported
const [port, wallet] = process.argv.slice(2)
const jwk = JSON.parse(fs.readFileSync(wallet, 'utf8'))
const arweave = Arweave.init({ host: '127.0.0.1', port, protocol: 'http' })
const address = await arweave.wallets.jwkToAddress(jwk)
const other = await arweave.wallets.jwkToAddress(await arweave.wallets.generate())
const balance = async (of) => arweave.wallets.getBalance(of)

async function made (parts, tags = {}) {
  const transaction = await arweave.createTransaction(parts, jwk)
  for (const [name, value] of Object.entries(tags)) transaction.addTag(name, value)
  await arweave.transactions.sign(transaction, jwk)
  return transaction
}

await arweave.api.get(`mint/${address}/1000`)
const saw = { minted: await balance(address), lastBefore: await arweave.wallets.getLastTransactionID(address) }
const small = await made({ data: 'hello' }, { 'Content-Type': 'text/plain', App: 'å' })
saw.posts = [(await arweave.transactions.post(small)).status, (await arweave.transactions.post(small)).status]
const read = await arweave.transactions.get(small.id)
saw.small = {
  verifies: await arweave.transactions.verify(read),
  tags: read.tags.map((tag) => [tag.get('name', { decode: true, string: true }), tag.get('value', { decode: true, string: true })]),
  data: await arweave.transactions.getData(small.id, { decode: true, string: true }),
  status: (await arweave.transactions.getStatus(small.id)).status
}
const bytes = Buffer.alloc(900_000).map((_, at) => (at * at) % 251)
const large = await made({ data: bytes })
const uploader = await arweave.transactions.getUploader(large)
saw.before = []
while (!uploader.isComplete) {
  saw.before.push((await arweave.api.get(large.id)).status)
  await uploader.uploadChunk()
}
saw.chunks = uploader.totalChunks
saw.large = Buffer.compare(bytes, Buffer.from(await arweave.chunks.downloadChunkedData(large.id))) === 0
saw.offset = (await arweave.chunks.getTransactionOffset(large.id)).size
const transfer = await made({ target: other, quantity: '600' })
saw.transfer = (await arweave.transactions.post(transfer)).status
saw.balances = [await balance(address), await balance(other)]
const second = await arweave.transactions.post(await made({ target: other, quantity: '600' }))
saw.second = [second.status, second.data.error]
saw.last = (await arweave.wallets.getLastTransactionID(address)) === transfer.id
transfer.quantity = '1'
saw.forged = (await arweave.transactions.post(transfer)).status
const found = await arweave.api.post('graphql', { query: '{ transactions(tags: [{name: "App", values: ["å"]}]) { edges { node { id } } } }' })
saw.found = found.data.data.transactions.edges.map((edge) => edge.node.id === small.id)
saw.mined = (await arweave.api.get('mine/2')).data.height
saw.height = (await arweave.network.getInfo()).height
console.log(JSON.stringify(saw))
