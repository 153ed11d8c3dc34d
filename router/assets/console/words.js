// What the router's short words mean, for people.
import { count } from "./format.js";

const REASONS = {
  cached: "its prefix is cached there",
  least_wait: "shortest wait",
  only_candidate: "the only worker that can",
  pinned: "named by the request",
  home: "stores the response it refers to",
  least_work: "least work",
  least_inflight: "fewest in flight",
  least_prefill: "least prefill to do",
  least_blocks: "fewest blocks to do",
  less_of_two: "less busy of two",
  random: "drawn by lot",
  turn: "its turn",
  hash: "hash of its prefix",
  hash_next: "hash of its prefix, next on the ring",
  imbalanced: "load was uneven, fewest in flight",
  sent_before: "its prefix was sent there before",
  smallest_tree: "fewest prefixes so far",
  llmd_score: "best score",
  lmetric: "least load for what is not cached",
  session: "its session is there",
};

const OUTCOMES = {
  ok: "ok",
  client_error: "client error",
  upstream_error: "upstream error",
  router_error: "router error",
  cancelled: "cancelled",
};

const LACKS = {
  max_inflight: "it is sent no more than max_inflight requests at a time",
  prefill_pending: "it has room_tokens of prefill to do",
  kv_cache_full: "the prompt does not fit its KV cache beside what runs there",
  others_wait: "others wait for the same model; the least work goes first",
  saturated: "the policy takes the workers to be saturated",
};

const EXCLUDED = {
  down: "down",
  model_not_served: "does not serve the model",
  other_rank: "the request names another rank",
  pinned_elsewhere: "the request names another worker",
  stored_elsewhere: "another worker stores the response that is referred to",
};

const KNOWN_BY = { events: "events", predictions: "predictions", both: "both" };

export const KNOWN_BY_TITLE = {
  events: "Its own KV events tell what it holds.",
  predictions: "What it holds is predicted from what it was sent.",
  both: "Part of it is told by its KV events, the rest predicted.",
};

export const outcome = (name) => OUTCOMES[name] || name;
export const lacks = (name) => LACKS[name] || name;
export const excluded = (name) => EXCLUDED[name] || name;
export const knownBy = (name) => KNOWN_BY[name] || name;
export const reason = (name) => REASONS[name] || name.replaceAll("_", " ");

// Why a request went where it did.
export function decision(request) {
  if (!request.worker) return request.error ? "not routed" : "";
  let words = reason(request.reason);
  if (request.attempts > 1) words += `, attempt ${count(request.attempts)}`;
  if (request.resumed) words += ", resumed";
  return words;
}
