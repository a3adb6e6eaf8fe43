"""Mutants of what the machines rest on: the tables, the wire format, the trace format, the durations."""

from __future__ import annotations

from typing import Final

from proofs.mutation.core.mutant import Kind, Mutant

RECORD: Final = "tests/core/test_record.py"
TIMING: Final = "tests/core/test_timing.py"
TREE: Final = "tests/core/test_tree.py"
WIRE: Final = "tests/core/test_wire.py"

MUTANTS: Final = (
    # ---------------------------------------------------------------- tables
    Mutant(
        "a_trees_shape_depends_on_its_history",
        Kind.WRONG_CHOICE,
        ("Two states that are one are taken for two: explorations do not end, and traces do not match."),
        "tree._above",
        "return a.priority > b.priority or (a.priority == b.priority and a.key < b.key)",
        "return a.size > b.size",
        tests=(f"{TREE}::test_one_content_has_one_shape_whatever_its_history",),
    ),
    Mutant(
        "unequal_trees_are_equal",
        Kind.CONDITION_DROPPED,
        ("Two states that differ are taken for one: explorations miss what lies behind the second."),
        "tree._equal",
        " or a.value != b.value",
        "",
        tests=(f"{TREE}::test_trees_of_one_size_and_digest_are_still_compared_entry_by_entry",),
    ),
    Mutant(
        "removing_takes_the_neighbours_too",
        Kind.FORGOTTEN,
        "A client that leaves takes others out of the table with it.",
        "tree._remove",
        "return _join(node.left, node.right)",
        "return node.left",
        proofs=("CrossHair",),
        tests=(f"{TREE}::test_it_is_a_dict_in_the_order_of_its_keys",),
    ),
    Mutant(
        "the_first_is_the_root",
        Kind.HEAD_AND_TAIL,
        "Whoever waits is served in no order, and servers are chosen in none.",
        "tree.Tree.first",
        "while node.left is not None:",
        "while False:",
        proofs=("CrossHair",),
        tests=(f"{TREE}::test_it_is_a_dict_in_the_order_of_its_keys",),
    ),
    Mutant(
        "sorted_keys_make_a_chain",
        Kind.BOUND_IGNORED,
        "With thousands of clients each step takes as long as all of them together.",
        "tree._priority",
        "return hash((key, 0)) & 0x3FFF_FFFF",
        "return hash(key)",
        tests=(f"{TREE}::test_sorted_keys_do_not_make_a_chain",),
    ),
    # ---------------------------------------------------------------- bytes and records
    Mutant(
        "trailing_bytes_are_read_over",
        Kind.CONDITION_DROPPED,
        "A damaged packet is taken for a message.",
        "wire.decode",
        "if reader.at != len(packet):",
        "if False:",
        tests=(f"{WIRE}::test_any_bytes_are_a_message_with_this_one_encoding_or_an_error",),
    ),
    Mutant(
        "a_truncated_packet_is_read",
        Kind.CONDITION_DROPPED,
        "A damaged packet brings the reader down.",
        "wire._Reader.take",
        "if self.at + count > len(self.packet):",
        "if False:",
        tests=(f"{WIRE}::test_any_bytes_are_a_message_with_this_one_encoding_or_an_error",),
    ),
    Mutant(
        "any_byte_is_a_truth",
        Kind.CONDITION_DROPPED,
        "One message has many encodings: two implementations disagree on which is right.",
        "wire._Reader.value",
        "if byte > 1:",
        "if False:",
        tests=(f"{WIRE}::test_the_error_names_the_place_and_the_reason",),
    ),
    Mutant(
        "a_packet_of_any_size_is_written",
        Kind.BOUND_IGNORED,
        "A message is written that no reader takes.",
        "wire.encode",
        "if len(out) > LIMIT:",
        "if False:",
        tests=(f"{WIRE}::test_a_packet_has_a_limit",),
    ),
    Mutant(
        "numbers_of_any_size_are_written",
        Kind.BOUND_IGNORED,
        "A number that does not fit brings the writer down.",
        "wire._write",
        "if not -(1 << 63) <= value < 1 << 63:",
        "if False:",
        tests=(f"{WIRE}::test_an_integer_of_more_than_8_bytes_is_an_error",),
    ),
    Mutant(
        "lists_lose_their_last_item",
        Kind.OFF_BY_ONE,
        "A restarted Distributor is not sent each server's last port.",
        "wire._Reader.value",
        "for _ in range(count))",
        "for _ in range(max(count - 1, 0)))",
        tests=(f"{WIRE}::test_every_message_comes_back_as_it_was",),
    ),
    Mutant(
        "a_record_with_odd_fields_is_read",
        Kind.CONDITION_DROPPED,
        "A trace of another version is replayed as if it were of this one.",
        "record._instance",
        'if names != record.keys() - {"is"}:',
        "if not names <= record.keys():",
        tests=(f"{RECORD}::test_the_error_names_the_place_and_the_reason",),
    ),
    Mutant(
        "a_tuple_of_any_length_is_read",
        Kind.CONDITION_DROPPED,
        "A damaged trace brings the replay down.",
        "record._tuple",
        "if len(args) != len(record):",
        "if False:",
        tests=(f"{RECORD}::test_the_error_names_the_place_and_the_reason",),
    ),
    Mutant(
        "a_truth_is_written_as_a_number",
        Kind.WRONG_CHOICE,
        "No trace can be replayed.",
        "record.to_record",
        "    return value\n",
        "    return int(value) if isinstance(value, bool) else value\n",
        tests=(f"{RECORD}::test_every_event_and_effect_comes_back_as_it_was",),
    ),
    # ---------------------------------------------------------------- durations
    Mutant(
        "the_backoff_has_no_cap",
        Kind.BOUND_IGNORED,
        "After a bad night a server is restarted once a week.",
        "timing.backoff",
        "min(delay * 1.5, durations.backoff_cap)",
        "delay * 1.5",
        tests=(f"{TIMING}::test_the_delay_before_a_restart_grows_by_half_up_to_the_cap",),
    ),
    Mutant(
        "the_backoff_does_not_grow",
        Kind.FORGOTTEN,
        "A server that dies at once is restarted ten times a second.",
        "timing.backoff",
        "delay * 1.5",
        "delay",
        tests=(f"{TIMING}::test_the_delay_before_a_restart_grows_by_half_up_to_the_cap",),
    ),
    Mutant(
        "the_backoff_counts_for_ever",
        Kind.BOUND_IGNORED,
        "After millions of deaths each restart takes seconds to compute.",
        "timing.backoff",
        "min(attempt, 64)",
        "attempt",
        tests=(f"{TIMING}::test_however_often_it_has_died_the_delay_is_the_cap_and_is_found_at_once",),
    ),
    Mutant(
        "the_queue_timeout_is_the_hand_offs",
        Kind.WRONG_CHOICE,
        "Who waits is dropped after twice the time that the operator set.",
        "timing.duration",
        ("case distributor.QueueTimeout():\n            return durations.queue_timeout"),
        ("case distributor.QueueTimeout():\n            return durations.hand_off_timeout"),
        tests=(f"{TIMING}::test_each_timer_runs_for_its_duration",),
    ),
)
