"""Messages of refusals and of failed commands in other languages, by how they begin in English."""

from __future__ import annotations

from sweeps.ui.message_kinds import kind_of, kinds
from sweeps.ui.translation import LANGUAGES, Translator

# Key in `words/LANGUAGE/refusals.json` without the area -> what such a message looks like. Rare ones stay English.
KINDS = kinds(
    (
        ("session", r"sign in: open the link"),
        ("chat_models", r"a chat has at most (?P<count>\d+) models"),
        ("chats", r"there are (?P<count>\d+) chats with models in memory"),
        (
            "number_range",
            r"(?P<name>\w+): a (?:whole )?number from (?P<low>\S+) to (?P<high>\S+) is expected",
        ),
        ("nul", r"a value contains the character NUL"),
        ("half_character", r"(?:a value|the text) contains half of a character"),
        ("empty_value", r"the value is empty"),
        ("dash", r"(?P<name>.+?) begins with a dash[;:]"),
        (
            "not_started",
            r"(?P<command>paretune \S+) could not be started in (?P<folder>.+): (?P<reason>.+); mend that",
        ),
        ("one_line", r"(?P<name>\S+): one line of at most (?P<count>\d+) characters"),
        ("at_least", r"(?P<name>\S+): at least (?P<limit>\S+) is expected"),
        ("at_most", r"(?P<name>\S+): at most (?P<limit>\S+) is expected"),
        ("no_number", r"(?P<name>\S+): (?P<got>.+) is not a (?:whole )?number"),
        ("data_name", r"(?P<name>.+) can't be the name of a file of data"),
        ("data_ending", r"(?P<name>.+) has no ending of a file of data"),
        ("file_exists", r"(?P<name>.+) is in the data folder already(?:, with another text|; rename)"),
        ("upload_size", r"the (?:file|upload) has more than (?P<limit>[\d,]+) bytes"),
        ("spec_size", r"(?:the text has [\d,]+ bytes; )?a spec has at most (?P<limit>[\d,]+)"),
        (
            "in_text",
            r"(?P<path>\S+) (?:has no place in the text|is no list|is not written in the text|comes from an anchor)",
        ),
        ("form_one_line", r"a value of the form is on one line"),
        ("form_others", r"the form can't change this value without changing others"),
        ("form_line", r"line (?P<line>\d+): "),
        ("numbers", r"one to (?P<count>\d+) whole numbers from 1 to (?P<most>\d+) are expected"),
        ("config_size", r"a config\.json has at most (?P<limit>[\d,]+) bytes"),
        ("config_object", r"a config\.json is a JSON object"),
        ("no_json", r"this is not JSON"),
        ("config_path", r"(?P<name>.+) is a path; paste the model's config\.json"),
        ("no_text", r"the file is no text"),
        ("address", r"(?P<address>.+) is no address of a cluster"),
        ("spec_link", r"(?P<name>.+) is a link, which is not written through"),
        ("spec_made", r"(?P<name>.+) has just been made by somebody else"),
        ("choose_model", r"choose a model"),
        ("run_gone", r"this run is no longer in the list of runs"),
        ("select_runs", r"select runs that are in the list"),
        ("no_part", r"(?P<run>.+) has no cell or trial (?P<part>.+)"),
        ("not_local", r"(?P<name>.+) is not a base model on this machine"),
        ("no_model", r"(?P<folder>.+) has no model: neither"),
        ("new_folder", r"(?P<name>.+) is not a new folder below (?P<folder>.+)"),
        ("not_below", r"(?P<name>.+) is not (?:a (?:path|folder) )?below (?P<folder>.+)"),
        ("link_out", r"(?P<name>.+) is a link that leads out of the folder"),
        ("give_folder", r"give a folder to create"),
        ("no_report", r"there is no such report"),
        ("trial_gone", r"the trial is gone"),
        ("runs_code", r"the run's (?:own )?spec would run code \((?P<names>.+?)\)"),
        ("spec_unreadable", r"(?P<path>.+) can't be read, so there is no spec to go on with"),
        ("no_change", r"(?P<text>.+) is no change of a setting"),
        ("no_url", r"(?P<url>.+) is no URL of a run"),
        ("url_kind", r"(?P<url>.+): a run is added from one of (?P<known>.+); for others"),
        ("too_long", r"it took more than (?P<seconds>\d+) s"),
        ("large_run", r"(?P<url>.+): (?P<files>\d+) files with (?P<bytes>[\d,]+) bytes would be copied"),
        ("streams", r"(?P<count>\d+) pages of this server are open"),
        ("export_exists", r"(?P<folder>.+) exists already; --force"),
        ("export_other", r"(?P<folder>.+) holds other files than those of a model"),
        ("export_busy", r"another export to (?P<folder>.+) is in progress"),
        ("no_space", r"(?P<folder>.+) needs (?P<size>.+), and (?P<place>.+) has (?P<free>.+) free;"),
        ("not_writable", r"(?P<folder>.+) can't be written to; give another folder"),
        ("out_of_memory", r"(?:OutOfMemoryError|MemoryError|CUDA out of memory)"),
        ("process_killed", r"its process was killed, perhaps because memory ran out"),
        ("process_ended", r"its process ended with code (?P<code>-?\d+)"),
    )
)


def translations(message: str) -> dict[str, str]:
    """The message in the other languages; empty for a rare one.

    >>> translations("a chat has at most 4 models; unload one")
    {'zh': '一个对话最多同时加载 4 个模型，请先卸载一个'}
    """
    found = kind_of(message, KINDS)
    if found is None:
        return {}
    key, values = f"refusals.{found[0]}", found[1]
    return {name: Translator(name)(key, **values) for name in LANGUAGES if name != "en"}


def in_language(message: str | None, language: str) -> str | None:
    """The message in a language, or else as it is."""
    return translations(message).get(language, message) if message else message
