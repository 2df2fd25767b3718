//! What stands behind the `?` of a path.

use super::answer::Refused;

/// The keys and their values, decoded, in order.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// # Errors
    /// A key that is none of `known`, or that stands there twice without being one of `many`.
    pub(super) fn parse(text: Option<&str>, known: &[&str], many: &[&str]) -> Result<Self, Refused> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (decoded(key)?, decoded(value)?);
            if !known.contains(&key.as_str()) && !many.contains(&key.as_str()) {
                let all: Vec<&str> = known.iter().chain(many).copied().collect();
                let refused = Refused::bad(format!("{key:?} is not a key of this query"));
                return Err(refused.help(format!("one of: {}", all.join(", "))));
            }
            if !many.contains(&key.as_str()) && pairs.iter().any(|(other, _)| *other == key) {
                return Err(Refused::bad(format!("{key:?} stands in the query twice")));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// All values of a key.
    pub(super) fn all<'q>(&'q self, key: &str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(other, _)| other == key).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// It is no number.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Refused> {
        let number = |value: &str| {
            value.parse().map_err(|_| Refused::bad(format!("`{key}` is to be a number, and is {value:?}")))
        };
        self.get(key).map(number).transpose()
    }

    /// # Errors
    /// It is neither true nor false.
    pub(super) fn truth(&self, key: &str) -> Result<bool, Refused> {
        match self.get(key) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(other) => Err(Refused::bad(format!("`{key}` is to be true or false, and is {other:?}"))),
        }
    }
}

/// Without `%41` and `+`.
fn decoded(text: &str) -> Result<String, Refused> {
    let bad = || Refused::bad(format!("{text:?} in the query is not well encoded"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2).ok_or_else(bad)?;
                rest = after;
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (high, low) = digit(digits[0]).zip(digit(digits[1])).ok_or_else(bad)?;
                high << 4 | low
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn a_query_is_read_strictly() {
        let read = |text| Query::parse(Some(text), &["n", "f"], &["name"]);
        let query = read("name=a&name=b%2Fc+d&n=7&f").unwrap();
        assert_eq!(query.all("name").collect::<Vec<_>>(), ["a", "b/c d"]);
        assert_eq!(query.number("n").unwrap(), Some(7));
        assert!(query.truth("f").unwrap() && query.get("x").is_none());
        for bad in ["x=1", "n=1&n=2", "f=%", "f=%4", "f=%zz", "f=%ff", "%+1=2"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("n=x").unwrap().number("n").is_err());
        assert!(read("f=maybe").unwrap().truth("f").is_err());
        assert!(Query::parse(None, &[], &[]).is_ok());
    }
}
