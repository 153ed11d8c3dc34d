// The row of figures at the top.
import { find, make, setClass, setText, setTitle } from "./cells.js";
import { count, ms, percent, rate, span, when } from "./format.js";

const TILES = [
  ["workers", "Workers up"],
  ["rate", "Requests / s", "That ended in the last 10 s"],
  ["inflight", "In flight", "Sent to workers by this router and not ended"],
  ["queue", "Queued", "Requests that wait in this router"],
  ["hit", "Hit rate", "Prompt tokens found in workers' caches, of the requests that ended in the last 10 s; small: predicted"],
  ["ttft", "TTFT p50 / p95", "Arrival to first token, of the streams that ended in the last 10 s"],
  ["shared", "Shared Redis"],
  ["uptime", "Up for"],
];

export class Header {
  constructor() {
    this.tiles = {};
    for (const [name, label, title = ""] of TILES) {
      const tile = make("div", "tile");
      const value = make("dd");
      const main = make("b", "", "–");
      const side = make("small");
      value.append(main, side);
      tile.append(make("dt", "", label), value);
      if (title) tile.title = title;
      if (name !== "shared") find("tiles").append(tile);
      this.tiles[name] = { tile, main, side };
    }
    setInterval(() => this.age(), 1000);
  }

  hello(about) {
    this.started = about.started;
    this.skew = about.now - Date.now() / 1000;
    setText(find("version"), about.version);
    const settings = Object.entries(about).filter(([name]) => !["now", "started", "request_columns"].includes(name));
    setTitle(find("version"), settings.map(([name, value]) => `${name}: ${value}`).join("\n"));
    this.age();
  }

  age() {
    if (this.started === undefined || document.body.dataset.state !== "live") return;
    const { tile, main } = this.tiles.uptime;
    setText(main, span(Date.now() / 1000 + this.skew - this.started));
    setTitle(tile, `Up since ${when(new Date(this.started * 1000))}`);
  }

  totals(now) {
    const { workers, rate: requests, inflight, queue, hit, shared } = this.tiles;
    setText(workers.main, count(now.up));
    setText(workers.side, `of ${count(now.workers)}`);
    const level = now.up === 0 ? "bad" : now.up < now.workers ? "warn" : "";
    setClass(workers.tile, `tile ${level}`.trim());
    const down = now.workers - now.up;
    document.title = down ? `${count(down)} down · prefix-router` : "prefix-router";
    setText(requests.main, rate(now.rate));
    setText(inflight.main, count(now.inflight));
    setText(queue.main, count(now.queue));
    setText(hit.main, percent(now.hit));
    setText(hit.side, now.predicted == null ? "" : `${percent(now.predicted)} predicted`);
    if (now.shared) {
      if (!shared.tile.isConnected) find("tiles").append(shared.tile);
      setText(shared.main, now.shared.up ? "up" : "away");
      setText(shared.side, `${count(now.shared.routers)} routers`);
      setClass(shared.tile, now.shared.up ? "tile" : "tile bad");
    }
  }

  point(ttft50, ttft95) {
    setText(this.tiles.ttft.main, ms(ttft50));
    setText(this.tiles.ttft.side, ttft95 == null ? "" : `/ ${ms(ttft95)}`);
  }
}
