//! Random numbers: the published generator, the promised distributions.

use quern::base::DType;
use quern::tensor::{Mode, Session, Settings};

use super::support::{Array, executor, session, settings};

/// Philox 4×32-10 after the paper, written for clarity.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut c = counter.map(u128::from);
    for round in 0..10u32 {
        let k = [
            u128::from(key[0].wrapping_add(round.wrapping_mul(0x9E37_79B9))),
            u128::from(key[1].wrapping_add(round.wrapping_mul(0xBB67_AE85))),
        ];
        let (a, b) = (c[0] * 0xD251_1F53, c[2] * 0xCD9E_8D57);
        let (high, low) = (|x: u128| x >> 32, |x: u128| x & 0xFFFF_FFFF);
        c = [high(b) ^ c[1] ^ k[0], low(b), high(a) ^ c[3] ^ k[1], low(a)];
    }
    c.map(|word| word as u32)
}

fn seeded(seed: u64, stream: u64) -> Session {
    Session::new(executor(), Settings { seed, stream, ..settings(Mode::Planned) })
}

#[test]
fn reference_generator_yields_the_published_vectors() {
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(
        philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
}

pub(super) fn uniforms_are_words_of_philox_by_block_call_and_stream() {
    let (seed, stream) = (0x0123_4567_89ab_cdef, 5);
    let mut s = seeded(seed, stream);
    for call in 0..3 {
        let u = s.random_uniform(DType::F64, &[10], -1.0, 1.0).unwrap();
        let wanted: Vec<f64> = (0..3u32)
            .flat_map(|block| philox([block, call, 0, stream as u32], [seed as u32, (seed >> 32) as u32]))
            .map(|word| -1.0 + 2.0 * (f64::from(word) / 4_294_967_296.0))
            .collect();
        assert_eq!(Array::of(&mut s, &u).data, wanted[..10]);
    }
}

pub(super) fn uniforms_stay_below_the_upper_end_in_every_type() {
    let mut s = session(Mode::Planned);
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        let u = s.random_uniform(dtype, &[200_000], 0.0, 1.0).unwrap();
        let data = Array::of(&mut s, &u).data;
        assert!(data.iter().all(|u| (0.0..1.0).contains(u)), "{dtype}");
        let mean = data.iter().sum::<f64>() / data.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "{dtype}: mean {mean}");
    }
}

pub(super) fn normals_follow_box_and_muller() {
    let mut s = seeded(3, 0);
    let z = s.random_normal(DType::F64, &[200_001], 2.0, 0.5).unwrap();
    let data = Array::of(&mut s, &z).data;
    for block in 0..100u32 {
        let [a, b, c, d] = philox([block, 0, 0, 0], [3, 0]).map(u64::from);
        let unit = |word: u64| (word >> 11) as f64 / 9_007_199_254_740_992.0;
        let (u, turn) = (unit(a | b << 32) + 1.0 / 9_007_199_254_740_992.0, unit(c | d << 32));
        let radius = (-2.0 * u.ln()).sqrt();
        let pair = [(std::f64::consts::TAU * turn).cos(), (std::f64::consts::TAU * turn).sin()];
        for (i, f) in pair.iter().enumerate() {
            let wanted = 2.0 + 0.5 * radius * f;
            let got = data[2 * block as usize + i];
            assert!((got - wanted).abs() < 1e-14, "{got}, {wanted}");
        }
    }
    let standard: Vec<f64> = data.iter().map(|x| (x - 2.0) / 0.5).collect();
    let moment = |k: i32| standard.iter().map(|z| z.powi(k)).sum::<f64>() / standard.len() as f64;
    for (k, wanted, slack) in [(1, 0.0, 0.01), (2, 1.0, 0.02), (3, 0.0, 0.05), (4, 3.0, 0.15)] {
        assert!((moment(k) - wanted).abs() < slack, "moment {k}: {}", moment(k));
    }
}

pub(super) fn permutations_hold_every_number_once_and_differ_by_call() {
    let mut s = session(Mode::Planned);
    for count in [0usize, 1, 2, 63, 64, 1000, 60_000] {
        let (a, b) = (s.random_permutation(count).unwrap(), s.random_permutation(count).unwrap());
        let (a, b) = (Array::of(&mut s, &a).data, Array::of(&mut s, &b).data);
        assert!(count < 63 || a != b);
        let mut sorted = a.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.iter().enumerate().all(|(i, x)| i as f64 == *x), "{count}");
    }
}

pub(super) fn permutation_is_the_order_of_keys() {
    let mut s = seeded(11, 2);
    let order = s.random_permutation(500).unwrap();
    let mut keys: Vec<(u64, f64)> = (0..500)
        .map(|i| {
            let [a, b, c, d] = philox([i / 2, 0, 0, 2], [11, 0]).map(u64::from);
            (if i % 2 == 0 { a | b << 32 } else { c | d << 32 }, f64::from(i))
        })
        .collect();
    keys.sort_by_key(|k| k.0);
    assert_eq!(Array::of(&mut s, &order).data, keys.iter().map(|k| k.1).collect::<Vec<_>>());
}

pub(super) fn shards_draw_different_numbers_and_seeds_repeat_them() {
    let draw = |seed, stream| {
        let mut s = seeded(seed, stream);
        let u = s.random_uniform(DType::F32, &[8], 0.0, 1.0).unwrap();
        Array::of(&mut s, &u).data
    };
    assert_eq!(draw(1, 0), draw(1, 0));
    assert_ne!(draw(1, 0), draw(1, 1));
    assert_ne!(draw(1, 0), draw(2, 0));
}
