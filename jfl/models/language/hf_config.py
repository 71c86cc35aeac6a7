"""Reads a config.json of transformers strictly.

What is not known to leave the network's numbers alone is honoured or refused, never ignored.
"""

from typing import Any

from jfl import config
from jfl.config import SchemaT
from jfl.errors import UsageError
from jfl.files.strict_json import dumps

_SILENT = {
    "_name_or_path", "architectures", "auto_map", "model_type", "transformers_version",
    "transformers.js_config", "torch_dtype", "dtype", "use_cache", "torchscript",
    "gradient_checkpointing", "return_dict", "return_dict_in_generate", "output_attentions",
    "output_hidden_states", "output_past", "output_scores", "use_return_dict",
    "is_llama_config", "pretraining_tp", "chunk_size_feed_forward", "attn_implementation",
    "_attn_implementation", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id",
    "cls_token_id", "unk_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "tokenizer_class", "prefix", "id2label", "label2id", "num_labels",
    "_num_labels", "problem_type", "finetuning_task", "task_specific_params", "summary_type",
    "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout",
    "predict_special_tokens", "do_sample", "max_length", "max_new_tokens", "min_length",
    "temperature", "top_k", "top_p", "typical_p", "num_beams", "num_beam_groups",
    "num_return_sequences", "early_stopping", "length_penalty", "repetition_penalty",
    "diversity_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "bad_words_ids", "remove_invalid_values", "exponential_decay_length_penalty",
    "suppress_tokens", "begin_suppress_tokens",
}  # fmt: skip
"""Keys that say nothing of the network's numbers: ids and generation, labels, bookkeeping."""
_OFF = ("is_decoder", "is_encoder_decoder", "tie_encoder_decoder", "use_bfloat16", "tf_legacy_loss",
        "cross_attention_hidden_size", "pruned_heads", "rope_interleaved")  # fmt: skip
"""Keys that old files carry, and that must be off: false, none or empty."""


class Fields:
    """A config.json that is being read; in the end every key of it must have been asked for."""

    def __init__(self, content: dict[str, Any], model_type: str):
        self._content = {key: value for key, value in content.items() if key not in _SILENT}
        self._model_type = model_type
        for key in _OFF:
            if value := self._content.pop(key, None):
                raise self._refusal(key, value, "must be off")

    def take(self, key: str, default: Any) -> Any:
        """Returns a value, which is then done with."""
        return self._content.pop(key, default)

    def must_be(self, key: str, wanted: Any) -> None:
        """Takes a value that has to be the one wanted, if it is there.

        Raises:
            UsageError: it is another one.
        """
        value = self._content.pop(key, wanted)
        if value != wanted:
            raise self._refusal(key, value, f"must be {dumps(wanted)}")

    def inside(self, key: str, content: dict[str, Any]) -> "Fields":
        """Returns what stands under a key, to be read likewise."""
        return Fields(content, f"{self._model_type}: {key}")

    def require_nothing_left(self) -> None:
        """Raises a UsageError if a value has not been taken."""
        for key, value in self._content.items():
            raise self._refusal(key, value, "is not known")

    def checked(self, schema: type[SchemaT], settings: dict[str, Any]) -> SchemaT:
        """Returns the settings that were made of all values.

        Raises:
            UsageError: a value has not been taken, or is out of bounds.
        """
        self.require_nothing_left()
        try:
            return config.check(schema, settings)
        except UsageError as error:
            message = str(error).removeprefix("config: ")
            raise UsageError(f"config.json of {self._model_type}: {message}") from error

    def _refusal(self, key: str, value: Any, why: str) -> UsageError:
        return UsageError(f"config.json of {self._model_type}: {key}={dumps(value)} {why}")
