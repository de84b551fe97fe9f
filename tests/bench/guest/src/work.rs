//! Work that the bench does natively and in the sandbox: nothing but arithmetic
//! and branches, then memory.

/// Steps that the Collatz sequences of 1 … n take, until there were `steps` in all.
pub(crate) fn collatz(steps: u64) -> u64 {
    let (mut taken, mut start) = (0, 0);
    while taken < steps {
        start += 1;
        let mut n: u64 = start;
        while n > 1 {
            n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
            taken += 1;
        }
    }
    start
}

/// Primes below `n`, by the sieve of Eratosthenes.
pub(crate) fn primes(n: usize) -> usize {
    let mut composite = vec![false; n];
    let mut found = 0;
    for i in 2..n {
        if !composite[i] {
            found += 1;
            (i * i..n).step_by(i).for_each(|multiple| composite[multiple] = true);
        }
    }
    found
}
