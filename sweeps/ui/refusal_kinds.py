"""Messages of refusals and of failed commands in other languages, by what they say in English."""

from __future__ import annotations

from sweeps.ui.message_kinds import kind_of, kinds
from sweeps.ui.translation import LANGUAGES, Translator

# Key in `words/LANGUAGE/refusals.json` without the area -> such a message from its beginning to its end. Of one that
# goes on behind its pattern, the English is shown, too. Rare ones stay English.
KINDS = kinds(
    (
        ("session", r"sign in: open the link that `paretune ui` printed"),
        ("chat_models", r"a chat has at most (?P<count>\d+) models; unload one"),
        ("chats", r"there are (?P<count>\d+) chats with models in memory; close one of them"),
        ("number_range", r"(?P<name>\w+): a number from (?P<low>\S+) to (?P<high>\S+) is expected"),
        ("whole_range", r"(?P<name>\w+): a whole number from (?P<low>\S+) to (?P<high>\S+) is expected"),
        ("nul", r"a value contains the character NUL, which no command can be given"),
        ("half_character", r"(?:a value|the text) contains half of a character; type it again"),
        ("empty_value", r"the value is empty"),
        (
            "dash",
            r"(?P<name>[^;]+?) begins with a dash; (?:for a file of that name, put \./ before it"
            r"|names that do are not accepted\. Put \./ before the name of a file)",
        ),
        (
            "not_started",
            r"(?P<command>paretune \S+) could not be started in (?P<folder>[^:;]+): (?P<reason>[^;]+); "
            r"mend that on the machine of the UI, and try again",
        ),
        ("one_line", r"(?P<name>\S+): one line of at most (?P<count>\d+) characters is expected"),
        ("at_least", r"(?P<name>\S+): at least (?P<limit>\S+) is expected"),
        ("at_most", r"(?P<name>\S+): at most (?P<limit>\S+) is expected"),
        ("no_number", r"(?P<name>\S+): (?P<got>[^;]+) is not a number"),
        ("no_whole_number", r"(?P<name>\S+): (?P<got>[^;]+) is not a whole number"),
        ("data_name", r"(?P<name>[^;]+) can't be the name of a file of data"),
        (
            "data_ending",
            r"(?P<name>[^;]+) has no ending of a file of data, such as \.jsonl, \.json, \.csv or \.parquet",
        ),
        (
            "file_exists",
            r"(?P<name>[^;]+) is in the data folder already; rename the file that you upload",
        ),
        ("spec_exists", r"(?P<name>[^;]+) is in the data folder already, with another text"),
        (
            "upload_size",
            r"the (?:file|upload) has more than (?P<limit>[\d,]+) bytes, which is the limit",
        ),
        ("spec_size", r"(?:the text has [\d,]+ bytes; )?a spec has at most (?P<limit>[\d,]+)(?: bytes)?"),
        (
            "in_text",
            r"(?P<path>\S+) (?:has no place in the text; change it there|is no list; change it in the text"
            r"|is not written in the text|comes from an anchor \(<<: \*NAME\); change it in the text there)",
        ),
        ("form_one_line", r"a value of the form is on one line; change longer ones in the text"),
        (
            "form_others",
            r"the form can't change this value without changing others; change it in the text",
        ),
        ("line", r"line (?P<line>\d+): (?P<what>.+)"),
        ("numbers", r"one to (?P<count>\d+) whole numbers from 1 to (?P<most>\d+) are expected"),
        ("config_size", r"a config\.json has at most (?P<limit>[\d,]+) bytes"),
        ("config_object", r"a config\.json is a JSON object, with model_type and sizes"),
        ("no_json", r"this is not JSON"),
        ("config_path", r"(?P<name>[^;]+) is a path; paste the model's config\.json in place of it"),
        ("no_text", r"the file is no text"),
        ("address", r"(?P<address>[^;]+?) is no address of a cluster: write auto, or HOST:PORT"),
        ("spec_link", r"(?P<name>[^;]+) is a link, which is not written through; choose another name"),
        ("spec_made", r"(?P<name>[^;]+) has just been made by somebody else"),
        ("choose_model", r"choose a model"),
        ("run_gone", r"this run is no longer in the list of runs"),
        ("select_runs", r"select runs that are in the list"),
        ("no_part", r"(?P<run>[^;]+?) has no cell or trial (?P<part>.+)"),
        ("not_local", r"(?P<name>[^;]+) is not a base model on this machine"),
        (
            "no_model",
            r"(?P<folder>[^;]+) has no model: neither config\.json nor adapter_config\.json is in it",
        ),
        ("new_folder", r"(?P<name>[^;]+?) is not a new folder below (?P<folder>.+)"),
        ("not_below", r"(?P<name>[^;]+?) is not (?:a (?:path|folder) )?below (?P<folder>.+)"),
        ("link_out", r"(?P<name>[^;]+) is a link that leads out of the folder"),
        ("give_folder", r"give a folder to create"),
        ("no_report", r"there is no such report"),
        ("trial_gone", r"the trial is gone"),
        (
            "runs_code",
            r"the run's (?:own )?spec would run code \((?P<names>[^;]+?)\); (?:type the command in a terminal"
            r"|upload it as a file) if you trust this run",
        ),
        (
            "spec_unreadable",
            r"(?P<path>[^;]+) can't be read, so there is no spec to go on with; type the command in a terminal "
            r"if you trust this run",
        ),
        ("no_change", r"(?P<text>[^;]+) is no change of a setting, as method\.rank=64 is one"),
        ("no_url", r"(?P<url>[^;]+) is no URL of a run, such as s3://bucket/runs/methods"),
        (
            "url_kind",
            r"(?P<url>[^;]+?): a run is added from one of (?P<known>[^;]+); for others, start the UI with --runs",
        ),
        ("too_long", r"(?:it|the command) took more than (?P<seconds>[\d.]+) s"),
        ("ended", r"(?:it|the command) ended with code (?P<code>-?\d+)"),
        ("no_output", r"it printed no JSON"),
        (
            "large_run",
            r"(?P<url>[^;]+): (?P<files>[\d,]+) files with (?P<bytes>[\d,]+) bytes would be copied to this machine, "
            r"more than [\d,]+ or [\d,]+; copy the run yourself, and show the copy",
        ),
        (
            "streams",
            r"(?P<count>\d+) pages of this server are open, which is the most; close some",
        ),
        (
            "export_exists",
            r"(?P<folder>[^;]+) exists already; --force replaces it once the new one is complete",
        ),
        (
            "export_other",
            r"(?P<folder>[^;]+?) holds other files than those of a model \((?P<names>[^;]+)\), and --force replaces "
            r"only folders that hold a model; give another folder",
        ),
        (
            "export_no_model",
            r"(?P<folder>[^;]+) holds other files than those of a model, and --force replaces only folders that hold "
            r"a model; give another folder",
        ),
        ("export_busy", r"another export to (?P<folder>[^;]+) is in progress"),
        (
            "no_space",
            r"(?P<folder>[^,;]+?) needs (?P<size>[^,;]+?), and (?P<place>[^,;]+?) has (?P<free>[^,;]+?) free; free "
            r"some space, or give a folder on another disk",
        ),
        ("not_writable", r"(?P<folder>[^;]+) can't be written to; give another folder"),
        ("out_of_memory", r"(?:OutOfMemoryError|MemoryError|CUDA out of memory)"),
        ("process_killed", r"its process was killed, perhaps because memory ran out"),
        ("process_ended", r"its process ended with code (?P<code>-?\d+)"),
    )
)


def translations(message: str, whole: bool = True) -> dict[str, str]:
    """The message in the other languages; empty for a rare one.

    Where the words of a kind do not say all of it, as where a library's error follows, the message itself stands on
    the lines below them, unless ``whole`` is false: it is shown beside them.

    >>> translations("a chat has at most 4 models; unload one")
    {'zh': '一个对话最多同时加载 4 个模型，请先卸载一个'}
    >>> print(translations("its process ended with code 1: ImportError: no torch")["zh"])
    其进程以退出码 1 结束
    its process ended with code 1: ImportError: no torch
    """
    found = kind_of(message, KINDS)
    if found is None:
        return {}
    rest = "" if found.is_whole or not whole else f"\n{message}"
    key = f"refusals.{found.key}"
    return {name: Translator(name)(key, **found.values) + rest for name in LANGUAGES if name != "en"}


def in_language(message: str | None, language: str) -> str | None:
    """The message in a language, or else as it is."""
    return translations(message).get(language, message) if message else message
