//! The stable codes of diagnostics. `docs/errors.md` lists them; a test holds the two together.

/// A stable code and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `E…` for errors, `W…` for warnings.
    pub id: &'static str,
    /// What it means, in one sentence.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($name:ident = $id:literal: $meaning:literal;)+) => {
        $(#[doc = $meaning] pub(crate) const $name: Code = Code { id: $id, meaning: $meaning };)+
        /// Every code, in order.
        pub const ALL: &[Code] = &[$($name),+];
    };
}

codes! {
    UNREADABLE = "E001": "The file can't be read: it is missing, not a regular file, too large, or not UTF-8.";
    SYNTAX = "E002": "The text is not YAML.";
    LIMIT = "E003": "A limit that keeps orch safe from a hostile file: depth, size, or the growth by aliases and variables.";
    DUPLICATE_KEY = "E004": "A key is written twice in one map.";
    ALIAS = "E005": "An alias has no anchor, stands inside its own anchor, or is merged though it is no map.";
    DOCUMENTS = "E006": "The file does not hold exactly one YAML document.";
    TOO_MANY = "E007": "There are more mistakes than are kept (250,000, and one more for each 64 bytes of the file); the rest shows once these are mended.";
    UNKNOWN_KEY = "E101": "A key that the contract does not know.";
    WRONG_TYPE = "E102": "A value has the wrong type.";
    MISSING_KEY = "E103": "A required key is missing.";
    NOT_IN_VERSION_1 = "E104": "A key that other tools know, and that version 1 refuses.";
    VERSION = "E105": "The `version` is not 1.";
    EXCLUSIVE = "E106": "Of keys that exclude each other, more than one is written.";
    NAME = "E107": "A name does not match the pattern of names.";
    DURATION = "E108": "A duration can't be read, or is out of its range.";
    SIZE = "E109": "A size can't be read, or is out of its range.";
    SIGNAL = "E110": "There is no such signal.";
    PATTERN = "E111": "A regular expression or a glob is not valid.";
    RANGE = "E112": "A number or a duration is out of its range, or contradicts another one.";
    ADDRESS = "E113": "An address, a port or a URL can't be read.";
    CHOICE = "E114": "A word is not one of those that the key knows.";
    COMMAND = "E115": "A command is empty, or its quotes don't match.";
    TEXT = "E116": "A text holds what the system can't take: a NUL byte, or an empty path.";
    ENV_NAME = "E117": "The name of an environment variable is empty, or holds `=` or a NUL byte.";
    EXPANSION = "E118": "A `${` is malformed.";
    REQUIRED_VARIABLE = "E119": "A variable that `${NAME:?…}` requires is not set.";
    ENV_FILE_SYNTAX = "E120": "A line of an env file can't be read.";
    OUT_OF_PLACE = "E121": "A key can't be used together with another one here.";
    UNKNOWN_DEPENDENCY = "E201": "A dependency is not a component of the file.";
    SELF_DEPENDENCY = "E202": "A component depends on itself.";
    CYCLE = "E203": "Components depend on each other in a cycle.";
    NEVER_COMPLETES = "E204": "`completed` is awaited of a component that is always restarted.";
    REPEATED = "E205": "An entry is written twice in one list.";
    UNKNOWN_THREAD = "E206": "No thread of that name is built in or registered.";
    FOLDER_MISSING = "E207": "A folder is missing.";
    PROGRAM_MISSING = "E208": "A program can't be found, or can't be executed.";
    ENV_FILE_MISSING = "E209": "An env file is missing or can't be read.";
    CLAIMED_TWICE = "E210": "Two components claim one file, socket or address to listen at.";
    OWN_SOCKET = "E211": "A `tcp` probe on the component's own socket, whose backlog always answers.";
    THREAD_WITH = "E212": "A thread can't be made from its `with`.";
    OWN_FILE = "E213": "A state file, a log file or a socket can't be the component's own: something else is there, it is the YAML file or an env file, or it lies where orch keeps its own files.";
    UNSET_VARIABLE = "W001": "A variable without a default is not set, and stands for nothing.";
    PROGRAM_LATER = "W003": "A program can't be found now, but a build or a completed dependency may make it.";
    NO_COMPONENTS = "W004": "The file declares no components.";
}
