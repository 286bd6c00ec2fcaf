//! What the observers of a prepared model have seen, and what they make of it: every kind of observer on the same data.
//!
//! `cargo run --release -p torsh-quantization --example observers`

mod shared;

use torsh_quantization::debug::get_observer_dict;
use torsh_quantization::prelude::*;
use torsh_quantization::qconfig::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kinds: [ObserverConfig; 9] = [
        MinMaxObserver::default().into(),
        MovingAverageMinMaxObserver::default().into(),
        HistogramObserver::default().into(),
        HistogramObserver::default().with_mode(Mode::PyTorch).into(),
        PercentileObserver::with_args(99.9).into(),
        EntropyObserver::default().into(),
        MseObserver::default().into(),
        RecordingObserver::default().into(),
        FixedQParamsObserver::with_args(1.0 / 64.0, 128).into(),
    ];
    for observer in kinds {
        println!("{observer:?}");
        let prepared = prepare_static(shared::model()?, QuantConfig::default().observer(observer))?;
        for seed in 0..4 {
            prepared.forward(&shared::images(seed, 16)?)?;
        }
        for (name, observer) in get_observer_dict(&prepared) {
            let Some(range) = observer.range() else { continue };
            let params = observer.calculate_qparams()?;
            let (scale, zero_point) = (params.scale[0], params.zero_point[0]);
            println!("  {name}: range {range:.3}, scale {scale:.5}, zero point {zero_point}");
        }
        convert(prepared)?;
    }
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
