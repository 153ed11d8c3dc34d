// Puts the page together.
import { find, setClass, setText } from "./cells.js";
import { Details } from "./details.js";
import { Explain } from "./explain.js";
import { FeedView } from "./feed.js";
import { FleetView } from "./fleet.js";
import { Header } from "./header.js";
import { Plots } from "./plots.js";
import { Stream, setKey } from "./stream.js";

const STATES = {
  connecting: ["connecting", ""],
  live: ["live", ""],
  lost: ["reconnecting", "The router does not answer. What is shown is as of a moment ago; trying again."],
  stopping: ["reconnecting", "The router is being stopped. Trying again until it is back."],
  refused: ["reconnecting", "Trying again."],
  locked: ["locked", ""],
};

const details = new Details();
const header = new Header();
const plots = new Plots();
const fleet = new FleetView((worker) => details.worker(worker));
const feed = new FeedView((request) => details.request(request));
const explain = new Explain();

const stream = new Stream({
  state(name, text) {
    const [word, notice] = STATES[name];
    document.body.dataset.state = name;
    setText(find("live"), word);
    say(name === "locked" ? "" : `${text} ${notice}`.trim());
    if (name === "locked") unlock(text);
  },
  hello(about) {
    header.hello(about);
    feed.hello(about);
  },
  fleet(news) {
    header.totals(news);
    fleet.take(news);
    if (news.models) explain.models(news.models);
  },
  points(news) {
    plots.take(news);
    header.point(plots.latest("ttft50"), plots.latest("ttft95"));
  },
  requests(news) {
    feed.take(news);
    document.body.dataset.filled = "";
  },
});

function say(text) {
  const notice = find("notice");
  notice.hidden = !text;
  setText(notice, text);
}

function unlock(wrong) {
  const text = find("key-text");
  setText(text, wrong || "This router shows its data to its administrator only.");
  setClass(text, wrong ? "wrong" : "");
  find("key-value").value = "";
  if (!find("key").open) find("key").showModal();
}

find("key-form").addEventListener("submit", () => {
  setKey(find("key-value").value.trim());
  stream.start();
});
find("key").addEventListener("close", () => {
  if (document.body.dataset.state === "locked" && !stream.wanted) say("Without the admin key there is nothing to show. Reload the page to enter it.");
});

const typing = (element) => element.matches("input, textarea, select");

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.key === "/" && !typing(target) && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    find("fleet-filter").focus();
  } else if (event.key === "Escape" && target.type === "search") {
    target.value = "";
    target.dispatchEvent(new Event("input"));
    target.blur();
  }
});

stream.start();
