//! "Did you mean …?": the known word that is nearest to one that was mistyped.

/// The most characters of a word that are compared.
const MAX_CHARS: usize = 64;

/// The known word with the smallest [`distance`] to `word`, or `None` when even that one is too far away to
/// have been meant: more than a third of its characters would have to change.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .map(|(_, candidate)| candidate)
}

/// How many slips of the finger (a letter more, less, other, or swapped with its neighbour) turn one word into the
/// other, ignoring case.
pub fn distance(from: &str, to: &str) -> usize {
    let compared = |word: &str| word.chars().flat_map(char::to_lowercase).take(MAX_CHARS).collect::<String>();
    strsim::osa_distance(&compared(from), &compared(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 4] = ["shutdown", "status", "stop listen", "who"];

    #[test]
    fn slips_of_the_finger_find_their_word() {
        assert_eq!(nearest("shutdwon", WORDS), Some("shutdown"));
        assert_eq!(nearest("STATSU", WORDS), Some("status"));
        assert_eq!(nearest("stop lisen", WORDS), Some("stop listen"));
        assert_eq!(nearest("hwo", WORDS), Some("who"));
        assert_eq!(nearest("foo", WORDS), None);
    }

    #[test]
    fn what_is_far_from_everything_finds_nothing() {
        assert_eq!(nearest("balalaika", WORDS), None);
        assert_eq!(nearest("", WORDS), None);
        assert_eq!(nearest(&"s".repeat(100_000), WORDS), None);
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}
