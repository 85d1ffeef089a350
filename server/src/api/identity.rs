//! Whose favourites are meant.

use super::access::Asked;

/// Programs of this machine that read without a login are one reader.
const NOBODY: &str = "-";

/// The reader that asks: a name that no user can have for those who have not logged in.
pub(super) fn reader(asked: &Asked) -> String {
    asked.caller.as_ref().map(|caller| caller.user.clone()).filter(|user| !user.is_empty()).unwrap_or_else(|| NOBODY.into())
}
