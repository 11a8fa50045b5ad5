// Rain over a stretch of days, out of a daily weather record.
//
// input:  abi.encode(bytes32 record, uint32 firstDay, uint32 lastDay), days as yyyymmdd, both included;
//         `record` is the keccak-256 of a CSV with the columns date (yyyy-mm-dd) and precipitation (mm)
// output: abi.encode(uint256 rain in tenths of a mm, uint256 days, uint256 longest dry spell in days)
//
// Throws when the record does not cover every day asked for: an insurer must not decide on half the evidence.
const DRY_BELOW_TENTHS_MM = 10; // a day with less than 1 mm counts as dry, as meteorologists count

function main(input) {
  const [record, firstDay, lastDay] = abi.decode(["bytes32", "uint32", "uint32"], input);
  const days = daysBetween(Number(firstDay), Number(lastDay), parse(adyton.blob(record)));
  const rain = days.reduce((sum, day) => sum + day.tenthsMm, 0);
  const spell = longestDrySpell(days);
  adyton.log(`${days.length} days, ${rain / 10} mm of rain, longest dry spell ${spell} days`);
  return abi.encode(["uint256", "uint256", "uint256"], [rain, days.length, spell]);
}

function parse(bytes) {
  const [header, ...rows] = new TextDecoder().decode(bytes).trim().split(/\r?\n/);
  const columns = header.split(",");
  const [dateAt, rainAt] = [columns.indexOf("date"), columns.indexOf("precipitation")];
  if (dateAt < 0 || rainAt < 0) throw new Error("the record has no columns date and precipitation");
  return rows.map((row) => {
    const cells = row.split(",");
    const tenthsMm = cells[rainAt] ? Math.round(Number(cells[rainAt]) * 10) : NaN;
    if (!(tenthsMm >= 0)) throw new Error(`no precipitation for ${cells[dateAt]}`);
    return { day: Number(cells[dateAt].replaceAll("-", "")), tenthsMm };
  });
}

function daysBetween(first, last, record) {
  const wanted = (toDate(last) - toDate(first)) / 86_400_000 + 1;
  const days = record.filter(({ day }) => first <= day && day <= last);
  const distinct = new Set(days.map(({ day }) => day)).size;
  if (!(wanted >= 1) || distinct !== wanted || days.length !== wanted) {
    throw new Error(`the record has ${distinct} of the ${wanted} days from ${first} to ${last}`);
  }
  return days;
}

function toDate(day) {
  return Date.UTC(Math.floor(day / 10_000), (Math.floor(day / 100) % 100) - 1, day % 100);
}

function longestDrySpell(days) {
  let longest = 0;
  let current = 0;
  for (const { tenthsMm } of days) {
    current = tenthsMm < DRY_BELOW_TENTHS_MM ? current + 1 : 0;
    longest = Math.max(longest, current);
  }
  return longest;
}
