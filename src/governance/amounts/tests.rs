//! What amounts are read as, from both sides.

use proptest::prelude::*;

use super::*;
use crate::governance::prose::words;

fn code(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

/// Whether a prompt contradicts that so many minor units of a currency move.
fn held(prompt: &str, currency: &str, minor: i64) -> bool {
    contradict(&named(&words(prompt), code(currency)), minor)
}

/// Every row: a prompt, the currency that moves, the minor units that it names, and some that it
/// does not. Both sides are tried.
#[test]
#[rustfmt::skip]
fn an_amount_is_read_with_its_unit() {
    let cases: &[(&str, &str, &[i64], &[i64])] = &[
        ("Pay 500 paise",                              "INR", &[500],         &[50_000, 5]),
        ("Pay 500 rupees",                             "INR", &[50_000],      &[500, 5_000_000]),
        ("500 rupees",                                 "INR", &[50_000],      &[500]),
        ("Pay ₹500",                                   "INR", &[50_000],      &[500]),
        ("Pay ₹ 500 to Acme",                          "INR", &[50_000],      &[500]),
        ("Pay Rs. 500/- only",                         "INR", &[50_000],      &[500]),
        ("Pay 500/- only",                             "INR", &[50_000],      &[500]),
        ("Pay INR500",                                 "INR", &[50_000],      &[500]),
        ("pay 500 inr",                                "INR", &[50_000],      &[500]),
        ("five hundred rupees",                        "INR", &[50_000],      &[500, 9_900_000]),
        ("Rupees Five Hundred Only",                   "INR", &[50_000],      &[500]),
        ("pay twenty-five rupees",                     "INR", &[2_500],       &[25]),
        ("pay a hundred rupees",                       "INR", &[10_000],      &[100]),
        ("pay one rupee",                              "INR", &[100],         &[1]),
        ("pay fifty paise",                            "INR", &[50],          &[5_000]),
        ("pay two thousand five hundred and ten rupees", "INR", &[251_000],   &[2_510, 200_000]),
        ("pay one lakh twenty thousand rupees",        "INR", &[12_000_000],  &[120_000, 10_000_000]),
        ("pay ten crore rupees",                       "INR", &[10_000_000_000], &[1_000]),
        ("pay two lakh to Acme",                       "INR", &[20_000_000],  &[200_000]),
        ("pay five hundred to Acme",                   "INR", &[50_000, 500], &[5_000]),
        ("pay 1.5 lakh rupees",                        "INR", &[15_000_000],  &[150_000]),
        ("pay 5 lakh 20 thousand rupees",              "INR", &[52_000_000],  &[50_000_000, 520_000]),
        ("pay ₹5L",                                    "INR", &[50_000_000],  &[500]),
        ("pay ₹2.5cr",                                 "INR", &[2_500_000_000], &[25_000_000]),
        ("pay 50k to Acme",                            "INR", &[5_000_000],   &[50_000]),
        ("pay 2 million rupees",                       "INR", &[200_000_000], &[2_000_000]),
        ("pay 12 hundred rupees",                      "INR", &[120_000],     &[1_200]),
        ("pay ₹1,00,000",                              "INR", &[10_000_000],  &[100_000]),
        ("pay 1,00,000 rupees",                        "INR", &[10_000_000],  &[100_000]),
        ("pay 1,00,000 paise",                         "INR", &[100_000],     &[10_000_000]),
        ("pay Rs 5 and 50 paise",                      "INR", &[550],         &[505, 55_000]),
        ("pay five rupees fifty paise",                "INR", &[550],         &[55_000]),
        ("pay 50000 minor units",                      "INR", &[50_000],      &[5_000_000]),
        ("pay ₹५०० to Acme",                            "INR", &[50_000],      &[500]),
        ("pay ₹499.99",                                "INR", &[49_999],      &[50_000]),
        ("pay ₹499.999",                               "INR", &[],            &[49_999, 50_000]),
        ("pay 500 to Acme",                            "INR", &[500, 50_000], &[5_000]),
        ("pay at most 500 rupees",                     "INR", &[1, 50_000],   &[50_001]),
        ("pay no more than five hundred rupees",       "INR", &[1, 50_000],   &[50_001]),
        ("Pay USD 12",                                 "INR", &[],            &[12, 1_200]),
        ("Pay $12",                                    "INR", &[],            &[12, 1_200]),
        ("Pay BHD 12",                                 "INR", &[],            &[12, 1_200, 12_000]),
        ("Pay 50 cents",                               "INR", &[],            &[50, 5_000]),
        ("Pay BHD 12",                                 "BHD", &[12_000],      &[12, 1_200]),
        ("Pay 12 dinars",                              "BHD", &[12_000],      &[1_200]),
        ("Pay 12.345 BHD",                             "BHD", &[12_345],      &[1_234]),
        ("Pay 500 fils",                               "BHD", &[500],         &[500_000]),
        ("Pay ¥1,200",                                 "JPY", &[1_200],       &[120_000]),
        ("Pay 1200 yen",                               "JPY", &[1_200],       &[120_000, 12]),
        ("Pay twelve hundred yen",                     "JPY", &[1_200],       &[120_000]),
        ("Pay $12.50",                                 "USD", &[1_250],       &[12]),
        ("Pay US$12",                                  "USD", &[1_200],       &[12]),
        ("Pay US$12",                                  "AUD", &[],            &[1_200]),
        ("Pay 12 dollars",                             "AUD", &[1_200],       &[12]),
        ("Pay 50 cents",                               "USD", &[50],          &[5_000]),
        ("Pay 50 pence",                               "GBP", &[50],          &[5_000]),
        ("Pay £50",                                    "GBP", &[5_000],       &[50]),
        ("Pay 12,50 €",                                "EUR", &[1_250],       &[125_000]),
        ("Pay €1.234,56",                              "EUR", &[123_456],     &[1_234]),
        ("Pay ₹500 (about $6)",                        "INR", &[50_000],      &[600]),
    ];
    for (prompt, currency, meant, not) in cases {
        for minor in *meant {
            assert!(!held(prompt, currency, *minor), "{prompt:?} may be {minor} {currency}");
        }
        for minor in *not {
            assert!(held(prompt, currency, *minor), "{prompt:?} is not {minor} {currency}");
        }
    }
}

#[test]
fn numbers_that_are_no_amounts_contradict_nothing() {
    for prompt in [
        "pay two vendors",
        "pay one of the vendors",
        "pay the one from Acme",
        "send a thousand thanks",
        "pay all three invoices of 2026",
        "try to pay Acme for the two weeks",
        "Pay 3 vendors within 30 days",
        "pay 500 litres",
        "an hour and a half",
        "k m cr",
        "",
    ] {
        assert!(
            !held(prompt, "INR", 123),
            "{prompt}: {:?}",
            named(&words(prompt), Currency::INR)
        );
    }
}

/// Every three letters that ISO 4217 gives a minor unit.
fn any_currency() -> impl Strategy<Value = Currency> {
    "[A-Z]{3}"
        .prop_filter_map("a code", |code| Currency::parse(&code))
        .prop_filter("a known one", |code| code.decimals().is_some())
}

proptest! {
    #![proptest_config(ProptestConfig { max_local_rejects: 4_000_000, ..ProptestConfig::with_cases(300) })]

    /// What is printed for people is read back as the same minor amount, in every currency.
    #[test]
    fn what_is_printed_is_read_back(minor in 1..10_i64.pow(15), currency in any_currency()) {
        let money = Money { minor, currency };
        let read = named(&words(&format!("Pay {money} to acct_123")), currency);
        prop_assert_eq!(read.len(), 1, "{}", money);
        prop_assert_eq!(&read[0].readings, &vec![i128::from(minor)], "{}", money);
        prop_assert!(contradict(&read, minor + 1));
    }

    /// Words of any kind are read without an end, and without a panic.
    #[test]
    fn any_prose_can_be_read(
        prose in "\\PC{0,60}",
        numbers in prop::collection::vec(prop::sample::select(vec![
            "five", "hundred", "lakh", "crore", "billion", "and", "a", "5", "9,99,999", "₹", "paise",
            "rupees", "k", "twenty-five", "999999999999999999.999999bn", "for", "pay", ".",
        ]), 0..20),
    ) {
        held(&prose, "INR", 1);
        held(&numbers.join(" "), "INR", 1);
    }
}
