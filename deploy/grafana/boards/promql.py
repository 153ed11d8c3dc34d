"""The shapes of query that the dashboards are made of."""

ROUTERS = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
MODEL = 'model=~"$model"'
WORKER = 'worker=~"$worker"'
GENERATES = 'endpoint!~"embeddings|rerank|score|classify|pooling|audio_.*|images_.*|count_tokens|render|tokenize|detokenize"'
"""Endpoints whose prompts are in the KV cache."""

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def of(metric: str, *matchers: str) -> str:
    """The series of the chosen routers."""
    return f"{metric}{{{','.join((ROUTERS, *matchers))}}}"


def rate(metric: str, *matchers: str, over: str = "$__rate_interval") -> str:
    """Per second."""
    return f"rate({of(metric, *matchers)}[{over}])"


def total(expr: str, by: str = "") -> str:
    """The sum over all else."""
    return f"sum by ({by}) ({expr})" if by else f"sum({expr})"


def most(expr: str, by: str = "") -> str:
    """What several routers say of the same thing, once."""
    return f"max by ({by}) ({expr})" if by else f"max({expr})"


def per_second(metric: str, by: str, *matchers: str) -> str:
    """A counter's rate by some labels."""
    return total(rate(metric, *matchers), by)


def ratio(part: str, whole: str) -> str:
    """Nothing where the whole is 0."""
    return f"{part} / ({whole} > 0)"


def quantile(
    q: float, metric: str, *matchers: str, by: str = "", over: str = "$__rate_interval"
) -> str:
    """Of a histogram, over all routers."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q:g}, {total(rate(f'{metric}_bucket', *matchers, over=over), labels)})"


def mean(metric: str, *matchers: str, over: str = "$__rate_interval") -> str:
    """Of a histogram."""
    whole = total(rate(f"{metric}_count", *matchers, over=over))
    return ratio(total(rate(f"{metric}_sum", *matchers, over=over)), whole)


def hit_rate(kind: str, over: str = "$__rate_interval") -> str:
    """The share of prompt tokens that were (`actual`) or were to be (`predicted`) cached."""
    part = total(rate("router_cached_tokens_total", f'kind="{kind}"', over=over))
    return ratio(part, total(rate("router_prompt_tokens_total", GENERATES, over=over)))
