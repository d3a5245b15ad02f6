//! The `ref` of a payload that is no request, so that its refusal can still say which one it refuses.
//!
//! Reading a request ends at the first thing that is wrong with it. This looks again, only at the outline:
//! the object's own members, one after the other, with no opinion on what their values are. It goes on behind
//! a value that JSON does not know, as long as its brackets and quotes close, and gives up where the outline
//! itself breaks; what it has found by then is the answer.

use std::borrow::Cow;

use crate::model::Reference;

/// The `ref` of a payload that could not be read, when there is one that may be given back. The first, where
/// there are two.
pub fn reference(payload: &[u8]) -> Option<Reference> {
    let mut outline = Outline { bytes: payload, at: 0 };
    outline.byte(b'{')?;
    loop {
        let name = outline.text()?;
        outline.byte(b':')?;
        if name == "ref" {
            // Something else than a text is no mark, and neither is a second one.
            return Reference::parse(&outline.text()?);
        }
        outline.value()?;
        outline.byte(b',')?;
    }
}

/// A place in a payload. Every step answers `None` where the outline breaks.
struct Outline<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Outline<'a> {
    /// The next byte that is no space, without going on.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..)?;
        let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at += spaces;
        self.bytes.get(self.at).copied()
    }

    /// Goes behind this byte.
    fn byte(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// Reads a text, unescaped.
    fn text(&mut self) -> Option<Cow<'a, str>> {
        self.peek()?;
        let raw = self.quoted()?;
        if raw.contains(&b'\\') {
            return serde_json::from_slice::<String>(raw).ok().map(Cow::Owned);
        }
        // A control character has to be escaped, but says what it says.
        std::str::from_utf8(raw.get(1..raw.len() - 1)?).ok().map(Cow::Borrowed)
    }

    /// Goes behind a text whose opening quote is here; the text with its quotes.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let begin = self.at;
        (self.bytes.get(begin) == Some(&b'"')).then_some(())?;
        let mut end = begin + 1;
        loop {
            match self.bytes.get(end)? {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        self.at = end + 1;
        self.bytes.get(begin..=end)
    }

    /// Goes behind a value, whatever it is: to the comma or bracket that ends it.
    fn value(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            match self.peek()? {
                b'"' => drop(self.quoted()?),
                byte @ (b'{' | b'[') => {
                    open.push(byte);
                    self.at += 1;
                }
                b'}' | b',' if open.is_empty() => return Some(()),
                byte @ (b'}' | b']') => {
                    // In ASCII each closing bracket is two behind the one that opens it.
                    (open.pop() == Some(byte - 2)).then_some(())?;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(payload: &str) -> Option<String> {
        reference(payload.as_bytes()).map(|found| found.as_str().to_owned())
    }

    // issue 7: a malformed number deep in a request loses the `ref` that stood before it
    #[test]
    fn the_ref_is_found_before_and_behind_what_is_wrong() {
        for wrong in [
            r#""x":1e999"#,
            r#""x":[{"y":[-1e999,01]}]"#,
            r#""x":18446744073709551616"#,
            r#""x":nil"#,
            r#""x":"\ud800""#,
            r#""x":{"ref":"inner"}"#,
            r#""type":"ping","type":"ping""#,
            r#""x":"\"ref\":\"no\"""#,
        ] {
            assert_eq!(found(&format!(r#"{{"ref":"r",{wrong}}}"#)).as_deref(), Some("r"), "{wrong}");
            assert_eq!(found(&format!("{{{wrong} , \"ref\" :\t\"r\"}}")).as_deref(), Some("r"), "{wrong}");
        }
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(found(&format!(r#"{{"x":{deep},"ref":"r"}}"#)).as_deref(), Some("r"));
        assert_eq!(found(r#"{"\u0072ef":"\u00e9\n"}"#).as_deref(), Some("é\n"));
        assert_eq!(found(r#"{"ref":"first","ref":"second"}"#).as_deref(), Some("first"));
    }

    #[test]
    fn what_was_found_before_the_outline_broke_counts() {
        for end in [
            "",
            ",",
            ",\"x\"",
            ",\"x\":",
            ",\"x\":[1}",
            ",\"x\":\"a\"b\"}",
            ",7:7}",
            "}}",
            "} tail",
            ",\"x\":\"",
        ] {
            assert_eq!(found(&format!(r#"{{"ref":"r"{end}"#)).as_deref(), Some("r"), "{end}");
        }
        let not_utf8 = [br#"{"ref":"r","x":""#.as_slice(), b"\xff\"}"].concat();
        assert_eq!(reference(&not_utf8), Reference::parse("r"));
    }

    #[test]
    fn what_is_no_mark_is_not_given_back() {
        let long = format!(r#"{{"ref":"{}""#, "x".repeat(65));
        for payload in [
            "",
            "{",
            "[]",
            r#""ref""#,
            r#"{"x":1}"#,
            r#"{"ref":7}"#,
            r#"{"ref":{"ref":"r"}}"#,
            r#"{"ref":"r"#,
            r#"{"ref":"\ud800"}"#,
            r#"{"x":[1},"ref":"r"}"#,
            r#"{"ref""#,
            r#"[{"ref":"r"}]"#,
            &long,
        ] {
            assert_eq!(found(payload), None, "{payload}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_can_be_looked_at(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = reference(&payload);
        }

        /// Whatever a request was cut off at or spoiled with behind its mark, the mark is found.
        #[test]
        fn nothing_behind_a_ref_takes_it_away(mark in "[a-z\"\\\\\u{e9}]{0,20}", rest in any::<Vec<u8>>()) {
            let mut payload = format!(r#"{{"ref":{},"#, serde_json::json!(mark)).into_bytes();
            payload.extend(rest);
            prop_assert_eq!(reference(&payload), Reference::parse(&mark));
        }
    }
}
