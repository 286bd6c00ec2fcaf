//! Times matrix products on request, for `benches/peers/gemm.py` and `group_wise.py`.
//!
//! Reads lines `M K N MODE MILLISECONDS [FILE]` (MODE is A1, A2 or B, or G and the weights of a group; FILE has the weights, a byte each, channel by
//! channel) and answers each with the kernel's name, the fastest call in nanoseconds, and the shares of the products that run
//! two deep, one deep and plainly. One thread. Every product is held to the scalar kernel before it is timed.
#![forbid(unsafe_code)]

use benches::models::Error;
use benches::{Case, GroupWise, Mode, Product, one_thread};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};
use tq_kernels::{Depths, Kernels};

fn answer(
    line: &str,
    kernels: &Kernels,
    products: &mut HashMap<String, (Case, Depths)>,
) -> Result<String, Error> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ([m, k, n, mode, milliseconds] | [m, k, n, mode, milliseconds, _]) = words[..] else {
        return Err("expected M K N MODE MILLISECONDS [FILE]".into());
    };
    let (shape, file) = ((m.parse()?, k.parse()?, n.parse()?), words.get(5));
    let key = format!("{shape:?} {mode} {file:?}");
    if !products.contains_key(&key) {
        let product = match mode.strip_prefix('G') {
            Some(size) => {
                let product = GroupWise { shape, group_size: size.parse()? };
                (product.spec().checked(kernels)?, Depths::default())
            }
            None => {
                let mode = Mode::ALL.into_iter().find(|m| m.name() == mode);
                let product =
                    Product::of_mode(shape, mode.ok_or("the modes are A1, A2, B and G32 or the like")?);
                match file {
                    Some(file) => {
                        let weights: Vec<i8> = std::fs::read(file)?.into_iter().map(|w| w as i8).collect();
                        let depths = product.depths_with(kernels, &weights)?;
                        (product.spec_with(line, weights).checked(kernels)?, depths)
                    }
                    None => (product.spec(line).checked(kernels)?, product.depths(kernels)?),
                }
            }
        };
        products.insert(key.clone(), product);
    }
    let (case, depths) = products.get_mut(&key).ok_or("it has just been put there")?;
    let until = Instant::now() + Duration::from_millis(milliseconds.parse()?);
    let mut best = u128::MAX;
    while best == u128::MAX || Instant::now() < until {
        let start = Instant::now();
        case.run()?;
        best = best.min(start.elapsed().as_nanos());
    }
    let all = (depths.two + depths.one + depths.plain).max(1) as f64;
    let share = |part: usize| part as f64 / all;
    let (two, one, plain) = (share(depths.two), share(depths.one), share(depths.plain));
    Ok(format!("{} {best} {two:.3} {one:.3} {plain:.3}", case.kernel))
}

fn main() -> Result<(), Error> {
    one_thread();
    let kernels = benches::suite::libraries().into_iter().next().unwrap_or_else(Kernels::scalar);
    let mut products = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        println!("{}", answer(&line?, &kernels, &mut products)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}
