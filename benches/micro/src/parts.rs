//! Measures the two passes over every byte separately: masking and UTF-8 validation.

use crate::SIZES;
use crate::crates::Work;
use crate::table::medians;
use crate::wire::Kind;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Calls per batch.
const CALLS: usize = 64;

pub(crate) fn print() {
    println!("\nThe mask in place, in nanoseconds:\n");
    println!("| bytes | h2ws | fastwebsockets | ratio |\n|--:|--:|--:|--:|");
    for size in SIZES {
        let [ours, theirs] = medians(&mut masks(size), CALLS, CALLS * size);
        println!(
            "| {size} | {ours:.1} | {theirs:.1} | {:.2} |",
            theirs / ours
        );
    }
    println!("\nUTF-8, in nanoseconds:\n");
    println!("| kind | bytes | h2ws | simdutf8 | std |\n|---|--:|--:|--:|--:|");
    for kind in [Kind::Ascii, Kind::Mixed] {
        for size in SIZES {
            let [ours, simd, std] = medians(&mut checks(kind, size), CALLS, CALLS * size);
            let kind = kind.name();
            println!("| {kind} | {size} | {ours:.1} | {simd:.1} | {std:.1} |");
        }
    }
}

fn masks(size: usize) -> [Work; 2] {
    let bytes = Kind::Binary.payload(size).to_vec();
    [
        repeat(bytes.clone(), |bytes| {
            h2ws::frame::mask::apply(KEY, 0, bytes);
        }),
        repeat(bytes, |bytes| fastwebsockets::unmask(bytes, KEY)),
    ]
}

fn checks(kind: Kind, size: usize) -> [Work; 3] {
    let text = kind.payload(size).to_vec();
    [
        repeat(text.clone(), |text| {
            let mut validator = h2ws::frame::Utf8Validator::default();
            validator.push(text).and(validator.finish()).expect("text");
        }),
        repeat(text.clone(), |text| {
            simdutf8::basic::from_utf8(text).expect("text");
        }),
        repeat(text, |text| {
            std::str::from_utf8(text).expect("text");
        }),
    ]
}

fn repeat(mut bytes: Vec<u8>, mut call: impl FnMut(&mut [u8]) + 'static) -> Work {
    Box::new(move || {
        for _ in 0..CALLS {
            call(std::hint::black_box(&mut bytes));
        }
        CALLS * bytes.len()
    })
}
