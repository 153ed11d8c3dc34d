// Numbers and times as text. Nothing known is a dash.
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const NONE = "–";

export const count = (n) => (n == null ? NONE : whole.format(n));

export function short(n) {
  if (n == null) return NONE;
  if (n < 10000) return whole.format(n);
  if (n < 999500) return `${(n / 1000).toFixed(n < 99950 ? 1 : 0)}k`;
  return `${(n / 1e6).toFixed(n < 1e8 ? 1 : 0)}M`;
}

export const percent = (share) => (share == null ? NONE : `${Math.round(share * 100)}%`);

export const rate = (n) => (n == null ? NONE : n >= 100 ? whole.format(n) : n.toFixed(1));

export function ms(value) {
  if (value == null) return NONE;
  if (value === 0) return "0 ms";
  if (value >= 9995) return `${(value / 1000).toFixed(value < 99950 ? 1 : 0)} s`;
  if (value >= 999.5) return `${(value / 1000).toFixed(2)} s`;
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ms`;
}

export const time = (date) => clock.format(date);

export const when = (date) => moment.format(date);

export function span(seconds) {
  const [d, h, m] = [seconds / 86400, (seconds % 86400) / 3600, (seconds % 3600) / 60].map(Math.floor);
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min` : `${Math.max(0, Math.floor(seconds))} s`;
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
