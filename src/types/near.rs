//! "Did you mean …?"

/// Longer texts are compared with none: comparing takes as long as one is times the other. Bytes.
const LONGEST: usize = 64;

/// The candidate that `written` is most likely a slip of; `None`: none is near enough. Of two that are as near, it
/// is the first.
#[must_use]
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > LONGEST {
        return None;
    }
    let limit = (written.chars().count() / 3).clamp(1, 3);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate.len().abs_diff(written.len()) > 2 * limit || candidate.len() > LONGEST {
            continue;
        }
        let same = candidate.eq_ignore_ascii_case(written);
        let distance = if same { 0 } else { strsim::osa_distance(written, candidate) };
        if distance <= limit && distance < written.len() && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, nearest};

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let keys = ["depends_on", "watch", "api"];
        assert_eq!(nearest("depend_on", keys), Some("depends_on"));
        assert_eq!(nearest("WATCH", keys), Some("watch"));
        assert_eq!(nearest("apo", keys), Some("api"));
        assert_eq!(nearest("volumes", keys), None);
        assert_eq!(nearest("b", ["a"]), None);
        assert_eq!(nearest("ab", ["ac", "ad"]), Some("ac"));
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(nearest(&long, [long.as_str()]), None);
    }
}
