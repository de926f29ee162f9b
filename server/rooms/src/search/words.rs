//! From a text to the words by which it is found.

use std::collections::BTreeMap;

/// Different words of one text that are indexed at most.
const WORDS: usize = 200;
/// Characters of a word that count.
const LENGTH: usize = 48;

/// The words of a text and how often each occurs, lower-cased, in their order. Letters and digits make words;
/// characters of scripts that put no spaces between words are words of their own.
pub(crate) fn words(text: &str) -> BTreeMap<String, u64> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let mut word = String::new();
    let mut length = 0;
    let mut end = |word: &mut String| {
        let word = std::mem::take(word);
        if word.is_empty() {
            return;
        }
        if found.len() < WORDS || found.contains_key(&word) {
            *found.entry(word).or_default() += 1;
        }
    };
    for c in text.chars().flat_map(char::to_lowercase) {
        if stands_alone(c) {
            end(&mut word);
            word.push(c);
            end(&mut word);
            length = 0;
        } else if c.is_alphanumeric() || is_mark(c) && !word.is_empty() {
            if length < LENGTH {
                word.push(c);
                length += 1;
            }
        } else {
            end(&mut word);
            length = 0;
        }
    }
    end(&mut word);
    found
}

/// Combining marks belong to the letter before them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200d}')
}

/// Chinese characters and Japanese syllables.
fn stands_alone(c: char) -> bool {
    matches!(
        c,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, expected) in [
            ("", vec![]),
            ("  -- !", vec![]),
            ("Martians and men", vec!["and", "martians", "men"]),
            ("ÄPFEL, äpfel; Straße", vec!["straße", "äpfel"]),
            ("don't e-mail 3.5", vec!["3", "5", "don", "e", "mail", "t"]),
            ("猫が好き cat", vec!["cat", "が", "き", "好", "猫"]),
            ("ПРИВЕТ мир", vec!["мир", "привет"]),
        ] {
            assert_eq!(words(text).into_keys().collect::<Vec<_>>(), expected, "{text}");
        }
        assert_eq!(words("a b a")["a"], 2);
        assert_eq!(words(&"x".repeat(1000)).into_keys().next().unwrap().len(), LENGTH);
        let many: Vec<String> = (0..1000).map(|n| format!("w{n}")).collect();
        assert_eq!(words(&many.join(" ")).len(), WORDS);
    }
}
