//! The PRECIS framework (RFC 8264) and the two profiles that JIDs use (RFC 8265), on current Unicode tables.

use std::borrow::Cow;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::{
    BidiClass, CanonicalCombiningClass, DefaultIgnorableCodePoint, GeneralCategory, HangulSyllableType,
    JoiningType, NoncharacterCodePoint, Script,
};
use icu_properties::{CodePointMapData, CodePointSetData};

use super::{Ascii, Reason};

const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();
const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfkc();
const NFKD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();

const ZWNJ: char = '\u{200C}';
const ZWJ: char = '\u{200D}';

/// How often a profile is applied in all before a text counts as having no normal form: once, then three times
/// more (RFC 8264 §7).
const ROUNDS: usize = 4;

/// What an ASCII octet is in a localpart.
const LOCAL: [Ascii; 128] = {
    let mut table = [Ascii::No; 128];
    let mut at = 0x21;
    while at <= 0x7E {
        table[at] = match at as u8 {
            // RFC 7622 §3.3.1
            b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@' => Ascii::No,
            b'A'..=b'Z' => Ascii::Lower,
            _ => Ascii::Same,
        };
        at += 1;
    }
    table
};

/// Judges a localpart that is plain ASCII; everything else is left to [`local`].
pub(super) fn local_ascii(raw: &str) -> Ascii {
    if raw.is_empty() || raw.len() > super::MAX_PART {
        return Ascii::No;
    }
    let mut verdict = Ascii::Same;
    for byte in raw.bytes() {
        verdict = verdict.and(LOCAL.get(usize::from(byte)).copied().unwrap_or(Ascii::No));
        if verdict == Ascii::No {
            break;
        }
    }
    verdict
}

/// Judges a resourcepart that is plain ASCII; everything else is left to [`resource`].
pub(super) fn resource_ascii(raw: &str) -> Ascii {
    let plain = !raw.is_empty()
        && raw.len() <= super::MAX_PART
        && !raw.starts_with(' ')
        && raw.bytes().all(|byte| matches!(byte, 0x20..=0x7E));
    if plain { Ascii::Same } else { Ascii::No }
}

/// UsernameCaseMapped (RFC 8265 §3.3) without what RFC 7622 §3.3.1 excludes.
pub(super) fn local(raw: &str) -> Result<Cow<'_, str>, Reason> {
    settle(raw, |text| {
        let text = width_mapped(text);
        if let Some(found) =
            text.chars().find(|c| matches!(c, '"' | '&' | '\'' | '/' | ':' | '<' | '>' | '@'))
        {
            return Err(Reason::Disallowed(found));
        }
        identifier(&text)?;
        let text = text.to_lowercase();
        let text = NFC.normalize(&text).into_owned();
        bidi_rule(&text)?;
        Ok(text)
    })
}

/// OpaqueString (RFC 8265 §4.2) that does not begin with a space (RFC 7622 §3.5, example 18).
pub(super) fn resource(raw: &str) -> Result<Cow<'_, str>, Reason> {
    settle(raw, |text| {
        allowed(text, Class::Freeform)?;
        let text: String = text.chars().map(|c| if is_space(c) { ' ' } else { c }).collect();
        let text = NFC.normalize(&text).into_owned();
        if text.starts_with(' ') {
            return Err(Reason::LeadingSpace);
        }
        Ok(text)
    })
}

/// Applies a profile until its output is stable, as RFC 8264 §7 asks.
fn settle(raw: &str, profile: impl Fn(&str) -> Result<String, Reason>) -> Result<Cow<'_, str>, Reason> {
    let mut text = Cow::Borrowed(raw);
    for _ in 0..ROUNDS {
        let next = profile(&text)?;
        if next == *text {
            return Ok(text);
        }
        text = Cow::Owned(next);
    }
    Err(Reason::Unstable)
}

fn is_space(c: char) -> bool {
    category(c) == GeneralCategory::SpaceSeparator
}

/// Fullwidth and halfwidth code points become what they decompose to (RFC 8264 §5.2.1).
fn width_mapped(text: &str) -> Cow<'_, str> {
    let is_width = |c| matches!(c, '\u{3000}' | '\u{FF01}'..='\u{FFEE}');
    if !text.contains(is_width) {
        return Cow::Borrowed(text);
    }
    let mut mapped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_width(c) {
            // The compatibility decomposition goes further than the width mapping for Hangul letters and the
            // macron only. No identifier has them, mapped either way.
            mapped.push_str(&NFKD.normalize(c.encode_utf8(&mut [0; 4])));
        } else {
            mapped.push(c);
        }
    }
    Cow::Owned(mapped)
}

/// The derived property of a code point (RFC 8264 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Property {
    /// Allowed in both classes.
    Valid,
    /// Allowed in FreeformClass only.
    FreeformOnly,
    /// Allowed where a rule about joining says so.
    ContextJ,
    /// Allowed where another rule about its neighbours says so.
    ContextO,
    /// Allowed nowhere.
    Disallowed,
    /// Not in Unicode yet.
    Unassigned,
}

/// The string classes of RFC 8264 §4.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Identifier,
    Freeform,
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// Computes the derived property, in the order of RFC 8264 §8.
pub(super) fn property(c: char) -> Property {
    use GeneralCategory as Gc;

    // Exceptions (§9.6). BackwardCompatible (§9.7) is empty.
    match c {
        '\u{00DF}' | '\u{03C2}' | '\u{06FD}' | '\u{06FE}' | '\u{0F0B}' | '\u{3007}' => {
            return Property::Valid;
        }
        '\u{00B7}'
        | '\u{0375}'
        | '\u{05F3}'
        | '\u{05F4}'
        | '\u{30FB}'
        | '\u{0660}'..='\u{0669}'
        | '\u{06F0}'..='\u{06F9}' => return Property::ContextO,
        '\u{0640}' | '\u{07FA}' | '\u{302E}' | '\u{302F}' | '\u{3031}'..='\u{3035}' | '\u{303B}' => {
            return Property::Disallowed;
        }
        _ => {}
    }
    let category = category(c);
    let noncharacter = CodePointSetData::new::<NoncharacterCodePoint>().contains(c);
    if category == Gc::Unassigned && !noncharacter {
        return Property::Unassigned;
    }
    if matches!(c, '\u{21}'..='\u{7E}') {
        return Property::Valid;
    }
    if matches!(c, ZWNJ | ZWJ) {
        return Property::ContextJ;
    }
    let syllable = CodePointMapData::<HangulSyllableType>::new().get(c);
    if matches!(
        syllable,
        HangulSyllableType::LeadingJamo | HangulSyllableType::VowelJamo | HangulSyllableType::TrailingJamo
    ) {
        return Property::Disallowed;
    }
    if noncharacter || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c) {
        return Property::Disallowed;
    }
    if category == Gc::Control {
        return Property::Disallowed;
    }
    if !NFKC.is_normalized(c.encode_utf8(&mut [0; 4])) {
        return Property::FreeformOnly;
    }
    match category {
        Gc::LowercaseLetter
        | Gc::UppercaseLetter
        | Gc::OtherLetter
        | Gc::DecimalNumber
        | Gc::ModifierLetter
        | Gc::NonspacingMark
        | Gc::SpacingMark => Property::Valid,
        Gc::TitlecaseLetter
        | Gc::LetterNumber
        | Gc::OtherNumber
        | Gc::EnclosingMark
        | Gc::SpaceSeparator
        | Gc::MathSymbol
        | Gc::CurrencySymbol
        | Gc::ModifierSymbol
        | Gc::OtherSymbol
        | Gc::ConnectorPunctuation
        | Gc::DashPunctuation
        | Gc::OpenPunctuation
        | Gc::ClosePunctuation
        | Gc::InitialPunctuation
        | Gc::FinalPunctuation
        | Gc::OtherPunctuation => Property::FreeformOnly,
        _ => Property::Disallowed,
    }
}

/// Whether every code point is allowed in IdentifierClass (RFC 8264 §4.2).
pub(super) fn identifier(text: &str) -> Result<(), Reason> {
    allowed(text, Class::Identifier)
}

fn allowed(text: &str, class: Class) -> Result<(), Reason> {
    let mut company = None;
    for (at, c) in text.char_indices() {
        let fits = match property(c) {
            Property::Valid => true,
            Property::FreeformOnly if class == Class::Freeform => true,
            Property::ContextJ => joiner_in_context(text, at, c),
            Property::ContextO => in_context(text, at, c, company.get_or_insert_with(|| Company::of(text))),
            _ => return Err(Reason::Disallowed(c)),
        };
        if !fits {
            return Err(Reason::Context(c));
        }
    }
    Ok(())
}

fn script(c: char) -> Script {
    CodePointMapData::<Script>::new().get(c)
}

/// What the rules of RFC 5892 appendix A ask of a text as a whole. Found once a text, so that a text of nothing but
/// such code points takes linear time.
#[derive(Default)]
struct Company {
    /// Hiragana, Katakana or Han (A.7).
    japanese: bool,
    /// ARABIC-INDIC DIGITS (A.9).
    arabic: bool,
    /// EXTENDED ARABIC-INDIC DIGITS (A.8).
    extended: bool,
}

impl Company {
    fn of(text: &str) -> Self {
        let mut company = Self::default();
        for c in text.chars() {
            match c {
                '\u{0660}'..='\u{0669}' => company.arabic = true,
                '\u{06F0}'..='\u{06F9}' => company.extended = true,
                _ => {
                    company.japanese |=
                        matches!(script(c), Script::Hiragana | Script::Katakana | Script::Han);
                }
            }
        }
        company
    }
}

/// The code points before octet `at` and after `c`, which stands there.
fn neighbours(text: &str, at: usize, c: char) -> (&str, &str) {
    (&text[..at], &text[at + c.len_utf8()..])
}

/// RFC 5892 appendix A.1 and A.2, for the joiner `c` at octet `at`.
fn joiner_in_context(text: &str, at: usize, c: char) -> bool {
    let (before, after) = neighbours(text, at, c);
    let virama = before.chars().next_back().is_some_and(|previous| {
        CodePointMapData::<CanonicalCombiningClass>::new().get(previous) == CanonicalCombiningClass::Virama
    });
    virama || (c == ZWNJ && joins(before, after))
}

/// RFC 5892 appendix A.3 to A.9, for the code point `c` at octet `at`.
fn in_context(text: &str, at: usize, c: char, company: &Company) -> bool {
    let (before, after) = neighbours(text, at, c);
    let previous = before.chars().next_back();
    let next = after.chars().next();
    match c {
        '\u{00B7}' => previous == Some('l') && next == Some('l'),
        '\u{0375}' => next.is_some_and(|next| script(next) == Script::Greek),
        '\u{05F3}' | '\u{05F4}' => previous.is_some_and(|previous| script(previous) == Script::Hebrew),
        '\u{30FB}' => company.japanese,
        '\u{0660}'..='\u{0669}' => !company.extended,
        '\u{06F0}'..='\u{06F9}' => !company.arabic,
        _ => false,
    }
}

/// Whether a ZERO WIDTH NON-JOINER between these breaks a cursive connection (RFC 5892 appendix A.1).
fn joins(before: &str, after: &str) -> bool {
    let types = CodePointMapData::<JoiningType>::new();
    let nearest = |mut chars: &mut dyn Iterator<Item = char>| {
        (&mut chars).map(|c| types.get(c)).find(|joining| *joining != JoiningType::Transparent)
    };
    matches!(nearest(&mut before.chars().rev()), Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(nearest(&mut after.chars()), Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

/// The Bidi Rule (RFC 5893 §2) for texts with a right-to-left code point; others are free of it.
fn bidi_rule(text: &str) -> Result<(), Reason> {
    use BidiClass as Bc;

    let classes = CodePointMapData::<BidiClass>::new();
    let of = |c| classes.get(c);
    if !text
        .chars()
        .map(of)
        .any(|class| matches!(class, Bc::RightToLeft | Bc::ArabicLetter | Bc::ArabicNumber))
    {
        return Ok(());
    }
    // A text that begins with L may hold no right-to-left code point (condition 5), so only condition 1's other
    // half is left: it begins with R or AL.
    if !matches!(text.chars().next().map(of), Some(Bc::RightToLeft | Bc::ArabicLetter)) {
        return Err(Reason::Direction);
    }
    let (mut european, mut arabic) = (false, false);
    for class in text.chars().map(of) {
        match class {
            Bc::EuropeanNumber => european = true,
            Bc::ArabicNumber => arabic = true,
            Bc::RightToLeft
            | Bc::ArabicLetter
            | Bc::EuropeanSeparator
            | Bc::CommonSeparator
            | Bc::EuropeanTerminator
            | Bc::OtherNeutral
            | Bc::BoundaryNeutral
            | Bc::NonspacingMark => {}
            _ => return Err(Reason::Direction),
        }
    }
    let last = text.chars().rev().map(of).find(|class| *class != Bc::NonspacingMark);
    let ends_well =
        matches!(last, Some(Bc::RightToLeft | Bc::ArabicLetter | Bc::EuropeanNumber | Bc::ArabicNumber));
    if ends_well && !(european && arabic) { Ok(()) } else { Err(Reason::Direction) }
}
