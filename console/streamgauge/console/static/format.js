// Numbers and units as people read them.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function count(value) {
  return value === null || value === undefined ? "–" : grouped.format(value);
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${digits(value * 1e6)} µs`;
  if (size < 1) return `${digits(value * 1e3)} ms`;
  return `${digits(value)} s`;
}

export function clock(total) {
  const whole = Math.max(0, Math.floor(total));
  return `${String(Math.floor(whole / 60)).padStart(2, "0")}:${String(whole % 60).padStart(2, "0")}`;
}

export function amount(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "%") return `${digits(value * 100)} %`;
  if (unit === "s") return seconds(value);
  if (unit === "By") return bytes(value);
  if (unit.startsWith("USD") || unit === "{USD}") return `$${short(value)}${unit.slice(3).replace("}", "")}`;
  if (unit.startsWith("/")) return `${digits(value)}${unit}`;
  const word = unit.replace(/^\{|\}(?=\/|$)/g, "");
  return word && word !== "1" ? `${short(value)} ${word}` : short(value);
}

export function tick(value, unit) {
  if (unit === "s" || unit === "By" || unit === "%") return amount(value, unit);
  return unit.startsWith("USD") ? `$${short(value)}` : short(value);
}

function bytes(value) {
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  let rest = value;
  while (Math.abs(rest) >= 1024 && step < names.length - 1) {
    rest /= 1024;
    step += 1;
  }
  return `${digits(rest)} ${names[step]}`;
}

function short(value) {
  return Math.abs(value) >= 1000 ? grouped.format(value) : digits(value);
}

function digits(value) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 1000) return grouped.format(value);
  return String(Number(value.toPrecision(3)));
}
