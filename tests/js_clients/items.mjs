// The other side of test_items.py: data items, bundles and signatures by @dha-team/arbundles and arweave.
// Reads one JSON request on stdin, writes one JSON answer on stdout. Bytes travel as base64.
import Arweave from "arweave";
import {
  ArweaveSigner, DataItem, EthereumSigner, HexSolanaSigner, SolanaSigner,
  bundleAndSignData, createData, deepHash, unbundleData,
} from "@dha-team/arbundles/node";
import { createRequire } from "node:module";

const bs58 = createRequire(import.meta.resolve("@dha-team/arbundles/node"))("bs58");
const base58 = (bytes) => (bs58.default ?? bs58).encode(bytes);
const bytes = (text) => Buffer.from(text, "base64");
const base64 = (value) => Buffer.from(value).toString("base64");

const request = JSON.parse(await new Response(process.stdin).text());
const { keys } = request;
const solanaKey = base58(Buffer.concat([Buffer.from(keys.seed, "hex"), Buffer.from(keys.public, "hex")]));
const signers = {
  arweave: new ArweaveSigner(keys.rsa),
  ed25519: new SolanaSigner(solanaKey), // in arbundles this is plain Ed25519, signature type 2
  ethereum: new EthereumSigner(keys.secp256k1),
  solana: new HexSolanaSigner(solanaKey), // signature type 4
};

const seen = (item) => ({
  id: item.id,
  signatureType: item.signatureType,
  owner: item.owner,
  target: item.target,
  anchor: base64(item.rawAnchor),
  tags: item.tags,
  data: base64(item.rawData),
});

async function signed({ signer, target, anchor, tags, data }) {
  const options = { tags, ...(target && { target }), ...(anchor && { anchor: bytes(anchor).toString() }) };
  const item = createData(bytes(data), signers[signer], options);
  await item.sign(signers[signer]);
  return item;
}

async function make(wanted) {
  const item = await signed(wanted);
  return { raw: base64(item.getRaw()), seen: seen(item) };
}

async function check(raw) {
  const item = new DataItem(bytes(raw));
  return { valid: await DataItem.verify(bytes(raw)), seen: seen(item) };
}

async function bundle(wanted) {
  const items = await Promise.all(wanted.map(signed)); // one that is only read from bytes would be signed again
  return { raw: base64((await bundleAndSignData(items, signers.ed25519)).getRaw()), ids: items.map((item) => item.id) };
}

async function unbundle(raw) {
  const found = unbundleData(bytes(raw));
  return { valid: await found.verify(), raws: found.items.map((item) => base64(item.getRaw())) };
}

const nested = (tree) => (Array.isArray(tree) ? tree.map(nested) : bytes(tree));
const arweave = Arweave.init({});

console.log(JSON.stringify({
  made: await Promise.all((request.make ?? []).map(make)),
  checked: await Promise.all((request.check ?? []).map(check)),
  bundles: await Promise.all((request.bundle ?? []).map(bundle)),
  unbundled: await Promise.all((request.unbundle ?? []).map(unbundle)),
  hashes: await Promise.all((request.hash ?? []).map(async (tree) => base64(await deepHash(nested(tree))))),
  address: await arweave.wallets.jwkToAddress(keys.rsa),
  rsaVerified: await Promise.all((request.rsa ?? []).map(({ message, signature }) =>
    Arweave.crypto.verify(keys.rsa.n, bytes(message), bytes(signature)))),
  rsaSigned: await Promise.all((request.sign ?? []).map(async (message) =>
    base64(await Arweave.crypto.sign(keys.rsa, bytes(message))))),
}));
