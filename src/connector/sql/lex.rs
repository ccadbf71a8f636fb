//! What a person wrote, cut into tokens and spelt in one way.
//!
//! A database and a parser that read the same text differently are how a second statement gets
//! through. So nothing is passed on in which they could differ: comments are dropped, dollar quotes
//! and quoted names are respelt, and whatever depends on settings of the server (backslashes,
//! `E''`, texts that continue on the next line, letters beyond ASCII outside of quotes) is refused.
//! Parameters are found here, where strings, comments and casts are known for what they are.

use crate::domain::tools::Position;
use crate::domain::tools::statement::{Dialect, Part};

/// Longest statement, in bytes.
pub const MAX_BYTES: usize = 16 * 1024;
/// Most tokens: whatever walks the parsed statement goes as deep as that.
const MAX_TOKENS: usize = 4_000;
/// Deepest nesting of parentheses and brackets.
const MAX_NESTING: usize = 24;

/// What is wrong with a statement, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail} at {position}")]
pub struct Flaw {
    /// The place in what was written.
    pub position: Position,
    /// What to write instead.
    pub detail: String,
}

/// One token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token {
    /// A name or keyword as it was written, unquoted.
    Word(String),
    /// A quoted name, without its quotes.
    Quoted(String),
    /// A text, without its quotes.
    Text(String),
    /// Bytes or bits, as `x'..'`.
    Bits(String),
    /// A number.
    Number(String),
    /// A parameter's name.
    Param(String),
    /// An operator or punctuation.
    Sign(String),
}

/// A token and the byte where it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The token.
    pub token: Token,
    /// The byte of what was written.
    pub at: usize,
}

/// Cuts one statement. A semicolon may only end it.
pub fn lex(text: &str, dialect: Dialect) -> Result<Vec<Placed>, Flaw> {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        dialect,
    };
    if text.len() > MAX_BYTES {
        return Err(reader.flaw(MAX_BYTES, format!("longer than {MAX_BYTES} bytes")));
    }
    let mut tokens: Vec<Placed> = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    while reader.skip_space()? {
        let at = reader.at;
        if reader.here() == Some(b';') {
            reader.at += 1;
            if reader.skip_space()? {
                return Err(reader.flaw(
                    reader.at,
                    "only one statement: nothing may follow the semicolon",
                ));
            }
            break;
        }
        let token = reader.token()?;
        reader.nest(&token, at, &mut open)?;
        if let (Token::Text(_), Some(Token::Text(_) | Token::Bits(_))) =
            (&token, tokens.last().map(|placed| &placed.token))
        {
            return Err(reader.flaw(at, "two texts side by side: join them with ||"));
        }
        tokens.push(Placed { token, at });
        if tokens.len() > MAX_TOKENS {
            return Err(reader.flaw(at, format!("more than {MAX_TOKENS} words and signs")));
        }
    }
    match (open.is_empty(), tokens.is_empty()) {
        (false, _) => Err(reader.flaw(text.len(), "a parenthesis or bracket is not closed")),
        (_, true) => Err(reader.flaw(0, "there is no statement")),
        (true, false) => Ok(tokens),
    }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
}

impl Reader<'_> {
    fn flaw(&self, at: usize, detail: impl Into<String>) -> Flaw {
        Flaw {
            position: Position::of(self.text, at),
            detail: detail.into(),
        }
    }

    fn here(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn ahead(&self, offset: usize) -> Option<u8> {
        self.bytes.get(self.at + offset).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn slice(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Passes over white space and comments; false at the end.
    fn skip_space(&mut self) -> Result<bool, Flaw> {
        loop {
            match (self.here(), self.ahead(1)) {
                (None, _) => return Ok(false),
                (Some(b' ' | b'\t' | b'\n' | b'\r'), _) => self.at += 1,
                (Some(b'-'), Some(b'-')) => {
                    let line = self.rest().find('\n').unwrap_or(self.rest().len());
                    self.at += line;
                }
                (Some(b'/'), Some(b'*')) => self.comment()?,
                (Some(_), _) => return Ok(true),
            }
        }
    }

    /// Comments nest in one dialect and not in the other, so a nested one is refused.
    fn comment(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        self.at += 2;
        let Some(end) = self.rest().find("*/") else {
            return Err(self.flaw(start, "a comment is not closed"));
        };
        if let Some(inner) = self.rest().find("/*").filter(|inner| *inner < end) {
            return Err(self.flaw(self.at + inner, "a comment inside a comment"));
        }
        self.at += end + 2;
        Ok(())
    }

    fn token(&mut self) -> Result<Token, Flaw> {
        let start = self.at;
        match (self.here().unwrap_or_default(), self.ahead(1)) {
            (b'\'', _) => self.text_token(),
            (b'"', _) => self.quoted(b'"'),
            (b'`', _) if self.dialect == Dialect::Sqlite => self.quoted(b'`'),
            (b'[', _) if self.dialect == Dialect::Sqlite => self.bracketed(),
            (b'$', _) if self.dialect == Dialect::Postgres => self.dollar(),
            (b':', Some(b':')) => {
                self.at += 2;
                Ok(Token::Sign("::".to_owned()))
            }
            (b':', Some(next)) if starts_name(next) => {
                self.at += 1;
                Ok(Token::Param(self.name()))
            }
            (b'x' | b'X' | b'b' | b'B', Some(b'\'')) => self.bits(),
            (first, Some(b'\'')) if first.is_ascii_alphabetic() => Err(self.flaw(
                start,
                "texts with a letter before their quote are not supported: write '...' or pass \
                 it as a parameter",
            )),
            (b'u' | b'U', Some(b'&')) if matches!(self.ahead(2), Some(b'\'' | b'"')) => {
                Err(self.flaw(start, "U& texts and names are not supported"))
            }
            (first, _) if starts_name(first) => Ok(Token::Word(self.name())),
            (first, _) if first.is_ascii_digit() => self.number(),
            (b'.', Some(next)) if next.is_ascii_digit() => self.number(),
            (first, _) if self.is_sign(first) => Ok(self.sign(first)),
            (b'?' | b'$' | b'@', _) => Err(self.flaw(
                start,
                "parameters are written :name, with a property of `input_schema`",
            )),
            (first, _) if !first.is_ascii() => Err(self.flaw(
                start,
                "letters beyond ASCII belong into quotes: \"...\" for a name, '...' for a text",
            )),
            _ => Err(self.flaw(start, "a character that has no place in SQL")),
        }
    }

    fn is_sign(&self, byte: u8) -> bool {
        match self.dialect {
            Dialect::Postgres => b"()[],.;:+-*/%<>=!~^&|#@?".contains(&byte),
            Dialect::Sqlite => b"(),.+-*/%<>=!~&|".contains(&byte),
        }
    }

    /// One operator as a database would read it: as long as it goes, but not into a comment.
    fn sign(&mut self, first: u8) -> Token {
        let start = self.at;
        self.at += 1;
        if b"+-*/%<>=!~^&|#@?".contains(&first) {
            while let Some(next) = self.here()
                && b"+-*/%<>=!~^&|#@?".contains(&next)
                && self.is_sign(next)
                && !self.rest().starts_with("--")
                && !self.rest().starts_with("/*")
            {
                self.at += 1;
            }
        }
        Token::Sign(self.slice(start, self.at).to_owned())
    }

    fn name(&mut self) -> String {
        let start = self.at;
        while self.here().is_some_and(continues_name) {
            self.at += 1;
        }
        self.slice(start, self.at).to_owned()
    }

    fn number(&mut self) -> Result<Token, Flaw> {
        let start = self.at;
        let digits = |reader: &mut Self| {
            while reader.here().is_some_and(|byte| byte.is_ascii_digit()) {
                reader.at += 1;
            }
        };
        digits(self);
        if self.here() == Some(b'.') {
            self.at += 1;
            digits(self);
        }
        if matches!(self.here(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.here(), Some(b'+' | b'-')));
            digits(self);
        }
        match self.here() {
            Some(next) if continues_name(next) => {
                Err(self.flaw(start, "a number runs into a word"))
            }
            _ => Ok(Token::Number(self.slice(start, self.at).to_owned())),
        }
    }

    fn text_token(&mut self) -> Result<Token, Flaw> {
        let start = self.at;
        let text = self.delimited(b'\'')?;
        match text.contains('\0') {
            true => Err(self.flaw(start, "a text with a NUL in it")),
            false => Ok(Token::Text(text)),
        }
    }

    fn quoted(&mut self, quote: u8) -> Result<Token, Flaw> {
        let start = self.at;
        let name = self.delimited(quote)?;
        match name.is_empty() || name.contains(char::is_control) {
            true => Err(self.flaw(start, "an empty name, or one with control characters")),
            false => Ok(Token::Quoted(name)),
        }
    }

    fn bracketed(&mut self) -> Result<Token, Flaw> {
        let start = self.at;
        match self.rest().find(']') {
            Some(end) if end > 1 => {
                let name = self.slice(start + 1, start + end).to_owned();
                self.at += end + 1;
                Ok(Token::Quoted(name))
            }
            Some(_) | None => Err(self.flaw(start, "a name in brackets is empty or not closed")),
        }
    }

    /// What stands between two of `quote`, of which a doubled one is one.
    fn delimited(&mut self, quote: u8) -> Result<String, Flaw> {
        let start = self.at;
        let mark = char::from(quote);
        let mut out = String::new();
        self.at += 1;
        loop {
            let Some(end) = self.rest().find(mark) else {
                return Err(self.flaw(start, "a quote is not closed"));
            };
            out.push_str(self.slice(self.at, self.at + end));
            self.at += end + 1;
            if self.here() != Some(quote) {
                return Ok(out);
            }
            out.push(mark);
            self.at += 1;
        }
    }

    fn bits(&mut self) -> Result<Token, Flaw> {
        let start = self.at;
        let letter = char::from(self.here().unwrap_or_default()).to_ascii_lowercase();
        self.at += 1;
        let inside = self.delimited(b'\'')?;
        let good = match letter {
            'b' => inside.bytes().all(|byte| matches!(byte, b'0' | b'1')),
            _ => inside.bytes().all(|byte| byte.is_ascii_hexdigit()),
        };
        match good && (letter == 'x' || self.dialect == Dialect::Postgres) {
            true => Ok(Token::Bits(format!("{letter}'{inside}'"))),
            false => Err(self.flaw(start, "not the digits of a text of bits or bytes")),
        }
    }

    /// `$$..$$` and `$tag$..$tag$`.
    fn dollar(&mut self) -> Result<Token, Flaw> {
        let start = self.at;
        let rest = self.rest();
        let tag_end = rest.get(1..).and_then(|after| after.find('$'));
        let tag = tag_end
            .and_then(|end| rest.get(..end + 2))
            .unwrap_or_default();
        let inner = tag.trim_matches('$');
        let named = inner.bytes().all(continues_name)
            && !inner
                .bytes()
                .next()
                .is_some_and(|first| first.is_ascii_digit());
        if tag.is_empty() || !named {
            return Err(self.flaw(
                start,
                "parameters are written :name, with a property of `input_schema`",
            ));
        }
        let body = start + tag.len();
        let Some(length) = self.text.get(body..).and_then(|after| after.find(tag)) else {
            return Err(self.flaw(start, "a dollar quote is not closed"));
        };
        self.at = body + length + tag.len();
        Ok(Token::Text(self.slice(body, body + length).to_owned()))
    }

    fn nest(&self, token: &Token, at: usize, open: &mut Vec<u8>) -> Result<(), Flaw> {
        let Token::Sign(sign) = token else {
            return Ok(());
        };
        match sign.as_str() {
            "(" => open.push(b'('),
            "[" => open.push(b'['),
            ")" if open.pop() != Some(b'(') => {
                return Err(self.flaw(at, "a parenthesis that was not opened"));
            }
            "]" if open.pop() != Some(b'[') => {
                return Err(self.flaw(at, "a bracket that was not opened"));
            }
            _ => {}
        }
        match open.len() > MAX_NESTING {
            true => Err(self.flaw(at, format!("nested deeper than {MAX_NESTING} levels"))),
            false => Ok(()),
        }
    }
}

fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn continues_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The tokens in one spelling, with `number` for each parameter's name.
pub fn spell(tokens: &[Placed], mut number: impl FnMut(&str) -> usize) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut out = String::new();
    let mut before: Option<&Token> = None;
    for Placed { token, .. } in tokens {
        if before.is_some_and(|before| needs_space(before, token)) {
            out.push(' ');
        }
        match token {
            Token::Word(text) | Token::Number(text) | Token::Sign(text) | Token::Bits(text) => {
                out.push_str(text);
            }
            Token::Quoted(name) => out.push_str(&quoted(name)),
            Token::Text(text) => {
                out.push('\'');
                out.push_str(&text.replace('\'', "''"));
                out.push('\'');
            }
            Token::Param(name) => {
                parts.push(Part::Text(std::mem::take(&mut out)));
                parts.push(Part::Param(number(name)));
            }
        }
        before = Some(token);
    }
    parts.push(Part::Text(out));
    parts
}

/// A name in double quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Spaces stand everywhere but around dots and casts, inside of parentheses and before commas.
fn needs_space(before: &Token, token: &Token) -> bool {
    let is = |token: &Token, signs: &[&str]| matches!(token, Token::Sign(sign) if signs.contains(&sign.as_str()));
    let name = matches!(before, Token::Word(_) | Token::Quoted(_));
    let opens = is(token, &["(", "["]) && name;
    !opens && !is(before, &["(", "[", "::", "."]) && !is(token, &[")", "]", ",", "::", "."])
}

#[cfg(test)]
mod tests;
