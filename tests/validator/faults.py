"""What is broken on purpose, and the checks that find it out."""

from __future__ import annotations

from typing import NamedTuple


class FoundBy(NamedTuple):
    """The check that must fail; others may fail as well."""

    in_c: str
    in_python: str


LIBRARIES = {
    "any_version": FoundBy("library.table", "library.table"),
    "unknown_options_are_taken": FoundBy("options.refused", "options.texts"),
    "error_says_otherwise": FoundBy("options.refused", "options.every_option"),
    "strings_are_lost": FoundBy("memory.texts", "memory.texts"),
    "errors_are_lost": FoundBy("memory.texts", "memory.texts"),
    "manifest_is_not_read": FoundBy("engine_open.manifests", "engine_open.arguments"),
    "log_cannot_stop": FoundBy("callbacks.log", "engine_open.log"),
    "a_little_off": FoundBy("sample.closed_form", "sample.closed_form"),
    "writes_to_x": FoundBy("sample.closed_form", "sample.repeatable"),
    "steps_from_one": FoundBy("sample.closed_form", "sample.reports"),
    "no_ritz_values": FoundBy("sample.closed_form", "sample.closed_form"),
    "results_differ": FoundBy("sample.every_option", "sample.repeatable"),
    "products_are_negated": FoundBy("calls.closed_form", "jvp.closed_form"),
    "outs_are_swapped": FoundBy("calls.closed_form", "principal_components.closed_form"),
    "clones_do_not_own": FoundBy("calls.closed_form", "tensors.clone"),
    "teleport_in_ve_alone": FoundBy("teleport.closed_form", "teleport.closed_form"),
    "stop_is_ignored": FoundBy("callbacks.stop", "callbacks.stop"),
    "asked_once_more": FoundBy("callbacks.stop", "callbacks.stop"),
    "reports_cannot_stop": FoundBy("callbacks.stop", "callbacks.stop"),
    "stopped_is_failed": FoundBy("callbacks.stop", "callbacks.stop"),
    "result_is_touched": FoundBy("callbacks.stop", "callbacks.stop"),
    "failure_is_success": FoundBy("callbacks.fail", "callbacks.fail"),
    "no_error_object": FoundBy("callbacks.fail", "callbacks.fail"),
    "tensor_outweighs_failure": FoundBy("callbacks.fail_with_tensor", "callbacks.with_tensor"),
    "nonsense_is_taken": FoundBy("callbacks.nonsense", "callbacks.nonsense"),
    "closes_what_was_refused": FoundBy("callbacks.forward_ad", "callbacks.stop"),
    "progress_is_required": FoundBy("callbacks.optional", "callbacks.optional"),
    "struct_size_is_ignored": FoundBy("structs.host", "structs.host"),
    "crashes_on_null_error": FoundBy("numbers.refused", "numbers.levels"),
    "hangs_on_empty": FoundBy("numbers.refused", "numbers.levels"),
    "loses_what_failures_store": FoundBy("memory.failures", "memory.calls"),
    "leaks_tensors": FoundBy("memory.calls", "memory.calls"),
    "another_thread": FoundBy("threads", "callbacks.stop"),
    "hosts_meet": FoundBy("threads", "threads.calls"),
}
"""By the names that ``broken.c`` has for them."""

OLDER_TABLE = "table_without_size"
"""A fault that the Python package finds when it loads the library."""
