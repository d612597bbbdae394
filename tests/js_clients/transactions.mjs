// What the npm package `arweave` makes of data and says of transactions and chunks.
// One JSON object on stdin, one on stdout:
//   {sizes}         → {roots: [{root, chunks: [{start, end, path}]}], transaction: one of its own, with its data}
//   {transactions: [{transaction, data, chunks}]} → {checked: [{id, verifies, root, paths}]}
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import Arweave from 'arweave'
import { generateTransactionChunks, validatePath } from 'arweave/node/lib/merkle.js'

const asked = JSON.parse(readFileSync(0))
const arweave = Arweave.init({})
const url = (bytes) => Buffer.from(bytes).toString('base64url')
const raw = (text) => new Uint8Array(Buffer.from(text, 'base64url'))
const dataOf = (size) => new Uint8Array(createHash('shake256', { outputLength: size }).update('aoray').digest())

async function root (size) {
  const { data_root: dataRoot, chunks, proofs } = await generateTransactionChunks(dataOf(size))
  return {
    root: url(dataRoot),
    chunks: chunks.map((chunk, n) => ({ start: chunk.minByteRange, end: chunk.maxByteRange, path: url(proofs[n].proof) }))
  }
}

async function made () {
  const jwk = await arweave.wallets.generate()
  const fields = { data: dataOf(1000), last_tx: url(dataOf(48)), reward: '123' }
  const transaction = await arweave.createTransaction(fields, jwk)
  transaction.addTag('Bundle-Format', 'binary')
  transaction.addTag('Name', 'å')
  await arweave.transactions.sign(transaction, jwk)
  return transaction.toJSON()
}

async function checked ({ transaction, data, chunks }) {
  const { data: _, ...header } = transaction
  const read = arweave.transactions.fromRaw({ ...header, data: raw(data) })
  const { data_root: dataRoot } = await generateTransactionChunks(raw(data))
  const size = Number(transaction.data_size)
  const paths = await Promise.all(chunks.map(async (chunk) => {
    const found = await validatePath(raw(chunk.data_root), Number(chunk.offset), 0, size, raw(chunk.data_path))
    return found && { offset: found.offset, start: found.leftBound, end: found.rightBound, size: raw(chunk.chunk).length }
  }))
  return { id: transaction.id, verifies: await arweave.transactions.verify(read), root: url(dataRoot), paths }
}

const answer = asked.sizes
  ? { roots: await Promise.all(asked.sizes.map(root)), transaction: await made() }
  : { checked: await Promise.all(asked.transactions.map(checked)) }
console.log(JSON.stringify(answer))
