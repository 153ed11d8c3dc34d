"""A managed service that stands in where no worker serves."""

from typing import Self

from pydantic import BaseModel, Field, field_validator, model_validator

from router.setting_types import ApiKey, WorkerUrl, pairs


class FallbackSettings(BaseModel):
    """A managed service that stands in where no worker serves."""

    fallback_url: WorkerUrl | None = Field(
        default=None,
        description="Base URL of a service with OpenAI's API, which is asked for `fallback_models` while no worker serves "
        "them: `https://api.openai.com/v1`, `https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1`.",
    )
    fallback_api_key: ApiKey | None = Field(
        default=None,
        repr=False,
        description="Its key, instead of the client's, which is not sent there.",
    )
    fallback_models: dict[str, str] = Field(
        default={},
        description="Models that it stands in for, and what they are called there: `gpt-oss-20b=openai.gpt-oss-20b-1:0`.",
    )

    @field_validator("fallback_models", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return pairs(value, "model=name there")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if bool(self.fallback_url) != bool(self.fallback_models):
            raise ValueError("fallback_url and fallback_models go together")
        if self.fallback_api_key and not self.fallback_url:
            raise ValueError("fallback_api_key needs a fallback_url")
        return self
