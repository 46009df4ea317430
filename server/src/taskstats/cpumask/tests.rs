//! The expected results are those of Linux 6.18, except where a comment says otherwise.

use proptest::collection::btree_set;
use proptest::prelude::*;

use super::{Cpumask, CpumaskError};

fn cpus(list: &[u32]) -> Cpumask {
    list.iter().copied().collect()
}

fn of_eight(text: &str) -> Cpumask {
    Cpumask::parse(text, &(0..8).collect()).unwrap()
}

fn error_of_eight(text: &str) -> String {
    Cpumask::parse(text, &(0..8).collect()).unwrap_err().to_string()
}

#[test]
fn lists_have_cpus_and_ranges() {
    assert_eq!(of_eight("0"), cpus(&[0]));
    assert_eq!(of_eight("0-2,7"), cpus(&[0, 1, 2, 7]));
    assert_eq!(of_eight("7,3-3,007"), cpus(&[3, 7]));
}

#[test]
fn blanks_and_empty_items_do_not_matter() {
    assert_eq!(of_eight(" 0 , 1 \n"), cpus(&[0, 1]));
    assert_eq!(of_eight("0,,1,"), cpus(&[0, 1]));
    assert_eq!(of_eight("0 1\t2\x0b3\x0c4"), cpus(&[0, 1, 2, 3, 4]));
}

#[test]
fn the_last_cpu_and_all_cpus_have_names() {
    assert_eq!(of_eight("N"), cpus(&[7]));
    assert_eq!(of_eight("6-N"), cpus(&[6, 7]));
    assert_eq!(of_eight("all"), (0..8).collect());
    assert_eq!(of_eight("ALL"), (0..8).collect());
}

#[test]
fn strides_select_the_first_of_every_group() {
    assert_eq!(of_eight("0-7:1/2"), cpus(&[0, 2, 4, 6]));
    assert_eq!(of_eight("1-N:2/3"), cpus(&[1, 2, 4, 5, 7]));
    assert_eq!(of_eight("all:1/N"), cpus(&[0, 7]));
    assert_eq!(of_eight("0-3:0/2,5"), cpus(&[5]));
    assert_eq!(of_eight("0-3:4294967295/4294967295"), cpus(&[0, 1, 2, 3]));
}

#[test]
fn text_without_an_item_means_all_possible_cpus() {
    let possible = cpus(&[0, 2, 3]);
    assert_eq!(Cpumask::parse("", &possible).unwrap(), possible);
    assert_eq!(Cpumask::parse("  \n", &possible).unwrap(), possible);
    assert_eq!(Cpumask::parse("\x0b\x0c", &possible).unwrap(), possible);
}

#[test]
fn all_means_the_possible_cpus() {
    let possible = cpus(&[0, 2, 3, 130]);
    assert_eq!(Cpumask::parse("all", &possible).unwrap(), possible);
    assert_eq!(Cpumask::parse("all:1/2", &possible).unwrap(), cpus(&[0, 2, 130]));
    assert_eq!(Cpumask::parse("N", &possible).unwrap(), cpus(&[130]));
    let error = Cpumask::parse("0-2", &possible).unwrap_err();
    let expected = "cpu 1 of `0-2` in the cpumask is not possible here; \
                    the possible CPUs are 0,2-3,130";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn malformed_items_are_refused_with_the_valid_forms() {
    for item in [
        "a",
        "0-",
        "-1",
        "0-1:",
        "0-1:1",
        "0-1:1/",
        "0-1:/2",
        "+1",
        "0x1",
        "allx",
        "n",
        "1-2-3",
        "0-1:1/2:1/2",
        "٣",
        "0;1",
        "1.0",
        "all-3",
        "\u{a0}",
        ":1/2",
        "0-1:1/99999999999",
    ] {
        let expected = format!(
            "`{item}` in the cpumask is malformed; write a CPU such as 3, a range such as 0-3, \
             `all`, or a stride such as 0-31:1/4"
        );
        assert_eq!(error_of_eight(item), expected);
        assert_eq!(error_of_eight(&format!("0-3,{item}")), expected);
    }
}

#[test]
fn reversed_ranges_and_empty_strides_are_refused() {
    let reversed = "the range `3-1` in the cpumask ends before it begins; write 1-3";
    assert_eq!(error_of_eight("3-1"), reversed);
    for item in ["0-7:3/2", "0-7:0/0", "all:1/0"] {
        assert!(error_of_eight(item).starts_with(&format!("the stride `{item}` in the cpumask")));
    }
}

#[test]
fn the_error_names_a_cpu_that_is_not_possible() {
    for (item, cpu) in [("8", "8"), ("0-9", "9"), ("99999999999", "99999999999")] {
        let expected = format!(
            "cpu {cpu} of `{item}` in the cpumask is not possible here; the possible CPUs are 0-7"
        );
        assert_eq!(error_of_eight(item), expected);
    }
}

#[test]
fn long_text_is_refused_and_shortened_in_the_error() {
    let error = Cpumask::parse(&"0,".repeat(5_000), &(0..8).collect()).unwrap_err();
    assert_eq!(error, CpumaskError::TooLong { length: 10_000, limit: 4096 });
    assert_eq!(of_eight(&"0,".repeat(2048)), cpus(&[0]));
    let message = error_of_eight(&"ä".repeat(1_000));
    assert!(message.contains(&format!("`{}…`", "ä".repeat(16))), "{message}");
}

/// The kernel accepts such a mask and registers nothing. A stream without CPUs would be a mistake.
#[test]
fn a_list_that_selects_no_cpu_is_refused() {
    for text in [",", " , ,", "0-3:0/2"] {
        let expected = format!("the cpumask `{text}` selects no CPU; leave it empty for all CPUs");
        assert_eq!(error_of_eight(text), expected);
    }
}

#[test]
fn sysfs_lists_are_bounded_by_the_largest_kernel() {
    assert_eq!(Cpumask::from_sysfs_list("0-1\n").unwrap(), cpus(&[0, 1]));
    assert_eq!(Cpumask::from_sysfs_list("\n").unwrap(), Cpumask::default());
    assert_eq!(Cpumask::from_sysfs_list("0-8191").unwrap().len(), 8192);
    assert!(Cpumask::from_sysfs_list("0-8192").is_err());
    let one_by_one: Vec<_> = (0..8192_u32).step_by(2).map(|cpu| cpu.to_string()).collect();
    assert_eq!(Cpumask::from_sysfs_list(&one_by_one.join(",")).unwrap().len(), 4096);
}

#[test]
fn a_cpu_that_cannot_exist_is_not_inserted() {
    let mut mask = Cpumask::default();
    assert!(mask.insert(Cpumask::MAX_CPUS - 1));
    assert!(!mask.insert(Cpumask::MAX_CPUS));
    assert!(!mask.contains(u32::MAX));
    assert_eq!(cpus(&[u32::MAX]), Cpumask::default());
}

fn set() -> impl Strategy<Value = std::collections::BTreeSet<u32>> {
    let numbers = prop_oneof![0..130_u32, 0..Cpumask::MAX_CPUS];
    btree_set(numbers, 0..40)
}

proptest! {
    #[test]
    fn a_printed_mask_parses_to_the_same_mask(cpus in set()) {
        let mask: Cpumask = cpus.iter().copied().collect();
        let printed = mask.to_string();
        prop_assert_eq!(&Cpumask::from_sysfs_list(&printed).unwrap(), &mask);
        prop_assert_eq!(&Cpumask::parse(&printed, &mask).unwrap(), &mask);
    }

    #[test]
    fn masks_are_sets(first in set(), second in set()) {
        let mask: Cpumask = first.iter().copied().collect();
        let other: Cpumask = second.iter().copied().collect();
        prop_assert_eq!(mask.iter().collect::<Vec<_>>(), first.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!((mask.len(), mask.is_empty()), (first.len(), first.is_empty()));
        prop_assert_eq!(mask.last(), first.last().copied());
        prop_assert_eq!(mask.is_subset(&other), first.is_subset(&second));
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[0-9N,:/ all-]{0,40}|.{0,40}", possible in set()) {
        let possible: Cpumask = possible.into_iter().collect();
        if let Ok(mask) = Cpumask::parse(&text, &possible) {
            prop_assert!(mask.is_subset(&possible));
        }
    }
}
