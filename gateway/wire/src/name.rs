//! Names of gateways and devices: what is safe in a topic, a file name and a log line.

use thiserror::Error;

/// Longest name of a gateway or device, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// A name that may not be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty or too long.
    #[error("a name has 1 to {MAX_NAME_BYTES} characters, this one has {0}")]
    Length(usize),
    /// A character that topics, paths or logs could misread.
    #[error("a name is made of letters, digits, '-', '_' and '.', and starts with a letter or digit; found {0:?}")]
    Character(char),
}

/// Checks the name of a gateway or device.
///
/// # Errors
/// Tells the length or the first character that is not allowed.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(NameError::Length(name.len()));
    }
    let allowed = |(i, c): &(usize, char)| c.is_ascii_alphanumeric() || (*i > 0 && matches!(c, '-' | '_' | '.'));
    match name.char_indices().find(|c| !allowed(c)) {
        Some((_, c)) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_topic_are_refused() {
        for good in ["plant7", "a", "Main-Meter_1.b", &"x".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", NameError::Length(0)),
            (&"x".repeat(65), NameError::Length(65)),
            ("a/b", NameError::Character('/')),
            ("a+", NameError::Character('+')),
            ("#", NameError::Character('#')),
            ("..", NameError::Character('.')),
            ("a b", NameError::Character(' ')),
            ("é", NameError::Character('é')),
        ] {
            assert_eq!(check_name(bad), Err(why), "{bad}");
        }
    }
}
