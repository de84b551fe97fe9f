//! An independent, naive interpreter of the operations in double precision.

use super::support::Array;

pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let get = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank).map(|i| if get(a, i) == 1 { get(b, i) } else { get(a, i) }).collect()
}

pub(crate) fn map(a: &Array, f: impl Fn(f64) -> f64) -> Array {
    Array::new(&a.shape, a.data.iter().map(|x| f(*x)).collect())
}

pub(crate) fn zip(a: &Array, b: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    Array::build(&broadcast(&a.shape, &b.shape), |i| f(a.at(i), b.at(i)))
}

pub(crate) fn choose(c: &Array, yes: &Array, no: &Array) -> Array {
    let shape = broadcast(&broadcast(&c.shape, &yes.shape), &no.shape);
    Array::build(&shape, |i| if c.at(i) != 0.0 { yes.at(i) } else { no.at(i) })
}

/// Swaps the last two dimensions.
pub(crate) fn swapped(a: &Array) -> Array {
    let mut order: Vec<usize> = (0..a.shape.len()).collect();
    order.swap(a.shape.len() - 1, a.shape.len() - 2);
    transpose(a, &order)
}

pub(crate) fn matmul(a: &Array, b: &Array) -> Array {
    let (ra, rb) = (a.shape.len(), b.shape.len());
    let (m, k, n) = (a.shape[ra - 2], a.shape[ra - 1], b.shape[rb - 1]);
    let mut shape = broadcast(&a.shape[..ra - 2], &b.shape[..rb - 2]);
    shape.extend([m, n]);
    Array::build(&shape, |index| {
        let (batch, cell) = index.split_at(index.len() - 2);
        let pick = |x: &Array, row: usize, column: usize| {
            let missing = batch.len() - (x.shape.len() - 2);
            x.at(&[&batch[missing..], &[row, column]].concat())
        };
        (0..k).map(|l| pick(a, cell[0], l) * pick(b, l, cell[1])).sum()
    })
}

/// Folds over `axes`, removing them.
pub(crate) fn reduce(a: &Array, axes: &[usize], f: impl Fn(&[f64]) -> f64) -> Array {
    let left: Vec<usize> = (0..a.shape.len()).filter(|i| !axes.contains(i)).collect();
    let shape: Vec<usize> = left.iter().map(|i| a.shape[*i]).collect();
    let mut buckets = vec![Vec::new(); shape.iter().product()];
    for (flat, x) in a.data.iter().enumerate() {
        let index = super::support::unravel(flat, &a.shape);
        let to = left.iter().fold(0, |to, i| to * a.shape[*i] + index[*i]);
        buckets[to].push(*x);
    }
    Array::new(&shape, buckets.iter().map(|b| f(b)).collect())
}

pub(crate) fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

pub(crate) fn mean(x: &[f64]) -> f64 {
    sum(x) / x.len() as f64
}

pub(crate) fn max(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

pub(crate) fn arg_max(x: &[f64]) -> f64 {
    let top = max(x);
    x.iter().position(|v| *v == top).unwrap() as f64
}

pub(crate) fn softmax(a: &Array, axis: usize) -> Array {
    let exponentials = map(a, f64::exp);
    let mut sums = reduce(&exponentials, &[axis], sum);
    sums.shape.insert(axis, 1);
    zip(&exponentials, &sums, |e, s| e / s)
}

pub(crate) fn cross_entropy(logits: &Array, labels: &Array) -> Array {
    let p = softmax(logits, 1);
    let n = labels.data.len();
    let losses = labels.data.iter().enumerate().map(|(i, label)| -p.at(&[i, *label as usize]).ln());
    Array::new(&[], vec![losses.sum::<f64>() / n as f64])
}

pub(crate) fn transpose(a: &Array, permutation: &[usize]) -> Array {
    let shape: Vec<usize> = permutation.iter().map(|p| a.shape[*p]).collect();
    Array::build(&shape, |index| {
        let mut from = vec![0; index.len()];
        for (i, p) in permutation.iter().enumerate() {
            from[*p] = index[i];
        }
        a.at(&from)
    })
}

/// Positions of an axis in the given order.
pub(crate) fn pick(a: &Array, axis: usize, positions: &[usize]) -> Array {
    let mut shape = a.shape.clone();
    shape[axis] = positions.len();
    Array::build(&shape, |index| {
        let mut from = index.to_vec();
        from[axis] = positions[index[axis]];
        if a.shape[axis] == 1 {
            a.at(&from.iter().enumerate().map(|(i, x)| if i == axis { 0 } else { *x }).collect::<Vec<_>>())
        } else {
            a.at(&from)
        }
    })
}

pub(crate) fn slice(a: &Array, axis: usize, start: usize, length: usize) -> Array {
    pick(a, axis, &(start..start + length).collect::<Vec<_>>())
}

pub(crate) fn concat(axis: usize, parts: &[&Array]) -> Array {
    let mut shape = parts[0].shape.clone();
    shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
    Array::build(&shape, |index| {
        let mut from = index.to_vec();
        for part in parts {
            if from[axis] < part.shape[axis] {
                let flat = part.shape.iter().zip(&from).fold(0, |flat, (n, i)| flat * n + i);
                return part.data[flat];
            }
            from[axis] -= part.shape[axis];
        }
        unreachable!("an index beyond all parts")
    })
}

pub(crate) fn one_hot(ids: &Array, classes: usize) -> Array {
    let mut shape = ids.shape.clone();
    shape.push(classes);
    Array::build(&shape, |index| {
        let (at, class) = index.split_at(index.len() - 1);
        f64::from(ids.at(at) == class[0] as f64)
    })
}

pub(crate) fn reshape(a: &Array, shape: &[usize]) -> Array {
    Array::new(shape, a.data.clone())
}

/// `cast`, in doubles: only for values a double holds exactly.
pub(crate) fn cast(a: &Array, low: f64, high: f64) -> Array {
    map(a, |x| if x.is_nan() { 0.0 } else { x.trunc().clamp(low, high) })
}

/// Images `[n, h, w, c]`, weights `[kh, kw, c, o]`, as the sum says.
pub(crate) fn conv2d(x: &Array, w: &Array, stride: usize, padding: usize) -> Array {
    let ([n, height, width, _], [kh, kw, channels, o]) = (four(x), four(w));
    let count = |extent: usize, size: usize| (extent + 2 * padding - size) / stride + 1;
    Array::build(&[n, count(height, kh), count(width, kw), o], |at| {
        let mut sum = 0.0;
        for (ky, kx, c) in every(kh, kw, channels) {
            let (y, x_) = (at[1] * stride + ky, at[2] * stride + kx);
            if y >= padding && y - padding < height && x_ >= padding && x_ - padding < width {
                sum += x.at(&[at[0], y - padding, x_ - padding, c]) * w.at(&[ky, kx, c, at[3]]);
            }
        }
        sum
    })
}

pub(crate) fn max_pool2d(x: &Array, size: usize, stride: usize) -> Array {
    let [n, height, width, channels] = four(x);
    let count = |extent: usize| (extent - size) / stride + 1;
    Array::build(&[n, count(height), count(width), channels], |at| {
        let under =
            every(size, size, 1).map(|(y, x_, _)| x.at(&[at[0], at[1] * stride + y, at[2] * stride + x_, at[3]]));
        under.fold(f64::NEG_INFINITY, f64::max)
    })
}

fn four(a: &Array) -> [usize; 4] {
    a.shape.clone().try_into().unwrap()
}

fn every(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}
