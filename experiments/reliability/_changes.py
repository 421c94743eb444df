"""Protections that are no single ``raise``: each with the tests that fail without it.

Where a fault is held off twice, both are taken away, as one alone would not be missed.
"""

from _removal import Change

CHANGES: list[tuple[Change, set[str]]] = [
    (
        Change(
            "files of weights are looked through, and loaded as such alone",
            (
                ("network/weights_file.py", "            _look_through(path)\n", ""),
                ("network/weights_file.py", "weights_only=True)", "weights_only=False)"),
                ("network/weights_file.py", "if not isinstance(found, dict):", "if False:"),
            ),
        ),
        {
            "test_pickles_of_every_protocol_are_not_run",
            "test_a_pickle_with_code_is_refused_and_not_run",
            "test_a_whole_pickled_module_is_refused",
        },
    ),
    (
        Change(
            "embeddings that are not finite are told from dead ones",
            (("evaluation/measuring.py", "if isinstance(value, str) or not broken:", "if True:"),),
        ),
        {"test_an_embedding_that_is_not_finite_fails_the_child_though_its_outputs_are"},
    ),
    (
        Change(
            "no journal is opened through a link, nor anything else taken for one",
            (
                ("runs/journal.py", "        check_place(path)\n", ""),
                ("runs/journal.py", 'getattr(os, "O_NOFOLLOW", 0)', "0"),
                ("runs/journal.py", "and not _begins_as_ours(content)", "and False"),
            ),
        ),
        {"test_a_journal_that_is_a_link_is_begun_anew_elsewhere"},
    ),
    (
        Change(
            "a line is whole and has its sum",
            (
                (
                    "runs/store.py",
                    'if len(line) < 66 or line[64:65] != b" " or line[-1:] != b"\\n":',
                    "if False:",
                ),
                ("runs/store.py", "if _sha256(text).encode() != line[:64]:", "if False:"),
            ),
        ),
        {"test_every_flipped_bit_is_found"},
    ),
    (
        Change(
            "half a line is cut off before others follow",
            (
                ("runs/journal.py", "if length < os.fstat(self._file).st_size:", "if False:"),
                (
                    "runs/journal.py",
                    "lseek(self._file, length, os.SEEK_SET)",
                    "lseek(self._file, 0, 2)",
                ),
            ),
        ),
        {"test_at_every_length_whole_lines_are_left"},
    ),
    (
        Change(
            "pipes and devices are told from files, and no one waits for them",
            (
                ("files.py", 'getattr(os, "O_NONBLOCK", 0)', "0"),
                ("files.py", "if not stat.S_ISREG(state.st_mode):", "if False:"),
            ),
        ),
        {"test_what_is_no_file_is_not_read"},
    ),
    (
        Change(
            "rules are kept, and not used up by the check",
            (
                (
                    "search/loop.py",
                    "    try:\n        rules = tuple(stop)",
                    "    try:\n        rules = stop",
                ),
            ),
        ),
        {"test_rules_may_come_from_a_generator"},
    ),
    (
        Change(
            "a network without layers to prune is told of",
            (
                ("network/dependencies.py", "raise nothing_to_prune(left_alone)", "pass"),
                ("network/structure.py", "raise nothing_to_prune(left_alone)", "pass"),
            ),
        ),
        {"test_a_parent_that_is_one_layer_is_refused"},
    ),
]
