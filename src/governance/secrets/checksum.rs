//! The arithmetic by which a number or a key vouches for itself.

/// CRC-32 (IEEE), as GitHub and npm put it behind their tokens.
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => (crc >> 1) ^ 0xedb8_8320,
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of base 62 that hold any CRC-32.
const CRC_DIGITS: usize = 6;

/// Six digits of base 62, the most significant first.
pub fn base62(mut number: u32) -> [u8; CRC_DIGITS] {
    let mut digits = [b'0'; CRC_DIGITS];
    for digit in digits.iter_mut().rev() {
        let value = usize::try_from(number % 62).unwrap_or_default();
        *digit = BASE62.get(value).copied().unwrap_or(b'0');
        number /= 62;
    }
    digits
}

/// Whether the last six characters are the CRC-32 of those before, in base 62.
pub fn ends_in_crc32(body: &[u8]) -> bool {
    body.split_last_chunk::<CRC_DIGITS>()
        .is_some_and(|(random, sum)| base62(crc32(random)) == *sum)
}

/// Luhn's sum of card numbers, over digits as numbers.
pub fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| match digit * 2 {
        sum @ 0..=9 => sum,
        sum => sum - 9,
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => u32::from(*digit),
            _ => u32::from(doubled(*digit)),
        })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 7064 mod 97-10 of an IBAN without its spaces: country and check digits count last.
pub fn mod97(iban: &[u8]) -> bool {
    let Some((head, tail)) = iban.split_at_checked(4) else {
        return false;
    };
    let value = |byte: u8| match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'A'..=b'Z' => Some(u32::from(byte - b'A') + 10),
        _ => None,
    };
    let rest = tail.iter().chain(head).try_fold(0, |rest: u32, byte| {
        let value = value(*byte)?;
        let shift = if value > 9 { 100 } else { 10 };
        Some((rest * shift + value) % 97)
    });
    rest == Some(1)
}

/// The dihedral group of the pentagon, as Verhoeff multiplies in it: 0 to 4 turn, 5 to 9 mirror.
fn dihedral(a: u8, b: u8) -> u8 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

/// Verhoeff's permutation, applied once more for every place.
const PERMUTATION: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];

/// Verhoeff's check of Aadhaar numbers, over digits as numbers.
pub fn verhoeff(digits: &[u8]) -> bool {
    let permuted = |place: usize, digit: u8| {
        (0..place % 8).fold(digit, |digit, _| {
            let next = PERMUTATION.get(usize::from(digit));
            next.copied().unwrap_or_default()
        })
    };
    let places = digits.iter().rev().enumerate();
    let sum = places.fold(0, |sum, (place, digit)| {
        dihedral(sum, permuted(place, *digit))
    });
    sum == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        let digits = text.bytes().filter(u8::is_ascii_digit);
        digits.map(|byte| byte - b'0').collect()
    }

    #[test]
    fn crc32_is_the_one_everybody_means() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(&base62(0), b"000000");
        assert_eq!(&base62(61), b"00000z");
        assert_eq!(&base62(62), b"000010");
    }

    #[test]
    fn luhn_knows_a_wrong_digit() {
        assert!(luhn(&digits(concat!("4111 1111", " 1111 1111"))));
        assert!(luhn(&digits(concat!("378282", "246310005"))));
        assert!(!luhn(&digits("4111 1111 1111 1112")));
    }

    #[test]
    fn mod97_knows_a_wrong_digit_and_a_wrong_order() {
        assert!(mod97(concat!("GB82WEST", "12345698765432").as_bytes()));
        assert!(mod97(concat!("DE8937", "0400440532013000").as_bytes()));
        assert!(!mod97(b"DE89370400440532013001"));
        assert!(!mod97(b"DE98370400440532013000"));
        assert!(!mod97(b"DE8"));
    }

    #[test]
    fn verhoeff_knows_every_wrong_digit_and_every_swap() {
        assert!(verhoeff(&digits("2363")));
        let good = digits(concat!("999941", "057058"));
        assert!(verhoeff(&good));
        for place in 0..good.len() {
            for digit in 0..10 {
                let mut wrong = good.clone();
                wrong[place] = digit;
                assert_eq!(verhoeff(&wrong), wrong == good, "{wrong:?}");
            }
            if place + 1 < good.len() && good[place] != good[place + 1] {
                let mut swapped = good.clone();
                swapped.swap(place, place + 1);
                assert!(!verhoeff(&swapped), "{swapped:?}");
            }
        }
    }
}
