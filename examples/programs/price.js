// A price in US dollars: the median of what four exchanges traded at. abi.encode(string) in, an asset such as "ETH";
// abi.encode(uint256, uint64, uint8) out: the price with 8 decimals, the time of its oldest part (unix s), how many
// exchanges stand behind it. Publish it with price.manifest.json.
//
// - An exchange that does not answer, or not as it should, or with an old price, does not count.
// - Nor does one whose price is further from the median than MAX_SPREAD_BPS: one liar moves nothing.
// - Fewer than MIN_SOURCES left, and there is no price: the run ends as Trapped.
// Integers only. Nothing here has a clock: a price is old compared with the request.
const MIN_SOURCES = 3, MAX_SPREAD_BPS = 100n, MAX_AGE_S = 120, DECIMALS = 8;

const SOURCES = [
  {
    url: (asset) => `https://api.exchange.coinbase.com/products/${asset}-USD/ticker`,
    price: /"price":\s*"([0-9.]+)"/,
    time: (text) => Math.floor(Date.parse(/"time":\s*"([^"]+)"/.exec(text)[1]) / 1000),
  },
  {
    url: (asset) => `https://www.bitstamp.net/api/v2/ticker/${asset.toLowerCase()}usd/`,
    price: /"last":\s*"([0-9.]+)"/,
    time: (text) => +/"timestamp":\s*"([0-9]{10})"/.exec(text)[1],
  },
  {
    url: (asset) => `https://api.gemini.com/v1/pubticker/${asset.toLowerCase()}usd`,
    price: /"last":\s*"([0-9.]+)"/,
    time: (text) => +/"timestamp":\s*([0-9]{10})[0-9]{3}\b/.exec(text)[1], // milliseconds
  },
  {
    url: (asset) => `https://api.kraken.com/0/public/Trades?pair=${asset}USD&count=1`,
    price: /\[\["([0-9.]+)"/,
    time: (text) => +/\[\["[0-9.]+","[0-9.]+",([0-9]{10})/.exec(text)[1],
  },
];

const decimal = (text) => {
  const [, whole, fraction = ""] = /^([0-9]{1,15})(?:\.([0-9]{1,18}))?$/.exec(text);
  const value = BigInt(whole + fraction.padEnd(DECIMALS, "0").slice(0, DECIMALS));
  if (value === 0n) throw new Error("a price of nothing");
  return value;
};
const median = (values) => {
  const sorted = values.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0)), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2n;
};
const distance = (a, b) => (a < b ? b - a : a - b);

async function quote(source, asset, request) {
  const response = await fetch(source.url(asset), { redirect: "error" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const text = await response.text(), price = decimal(source.price.exec(text)[1]), time = source.time(text);
  if (!(time >= request.createdAt - MAX_AGE_S && time <= request.deadline + MAX_AGE_S)) throw new Error(`traded at ${time}`);
  return { price, time };
}

async function main(input, request) {
  const [asset] = abi.decode(["string"], input);
  if (!/^[A-Z0-9]{2,6}$/.test(asset)) throw new Error("an asset is 2 to 6 capital letters or digits");
  const asked = await Promise.allSettled(SOURCES.map((source) => quote(source, asset, request)));
  asked.forEach((one, at) => one.reason && console.log(`${SOURCES[at].url(asset)}: ${one.reason.message}`));
  const answered = asked.filter((one) => one.status === "fulfilled").map((one) => one.value);
  if (answered.length < MIN_SOURCES) throw new Error(`${answered.length} sources answered, ${MIN_SOURCES} are needed`);
  const centre = median(answered.map((one) => one.price));
  const agreed = answered.filter((one) => distance(one.price, centre) * 10_000n <= centre * MAX_SPREAD_BPS);
  if (agreed.length < MIN_SOURCES) throw new Error(`${agreed.length} sources agree, ${MIN_SOURCES} are needed`);
  const oldest = Math.min(...agreed.map((one) => one.time));
  return abi.encode(["uint256", "uint64", "uint8"], [median(agreed.map((one) => one.price)), oldest, agreed.length]);
}
