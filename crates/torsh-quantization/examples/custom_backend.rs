//! A backend of one's own: it says what it takes, and brings kernels; what it lacks the scalar kernels run.
//!
//! `cargo run --release -p torsh-quantization --example custom_backend`

mod shared;

use torsh_quantization::backends::{CapabilityTable, CustomBackend, Isa, KernelLibrary, ScalarLibrary};
use torsh_quantization::prelude::*;
use torsh_quantization::ptq::quantize_fx;
use torsh_quantization::qconfig::int8_qconfig;

/// Products of one's own (here those of the scalar library stand for them), and nothing else.
#[derive(Debug)]
struct MyKernels {
    products: ScalarLibrary,
    capabilities: CapabilityTable,
}

impl KernelLibrary for MyKernels {
    fn name(&self) -> &'static str {
        "mine"
    }
    fn isa(&self) -> Isa {
        Isa::Scalar
    }
    fn capabilities(&self) -> &CapabilityTable {
        &self.capabilities
    }
    fn gemm(&self) -> Option<&dyn torsh_quantization::backends::QGemm> {
        self.products.gemm()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let custom_backend = CustomBackend::new().supported_ops(["quantized::linear", "quantized::conv2d"]);
    let capabilities = custom_backend.config()?.operators;
    let custom_backend =
        custom_backend.kernel_library(MyKernels { products: ScalarLibrary::new(), capabilities });

    let model = shared::model()?;
    let prepared = quantize_fx(model, int8_qconfig(), custom_backend.config()?)?;
    prepared.forward(&shared::images(1, 32)?)?;
    let quantized = convert(prepared)?;
    for node in &quantized.report.nodes {
        println!("{node}");
    }

    let Some(library) = custom_backend.library() else { return Err("no library".into()) };
    let session = Session::new(&quantized.graph, SessionOptions::with_library(library))?;
    let images = shared::images(2, 4)?;
    let outputs = session.run(std::slice::from_ref(&images))?;
    let explanation = session.explain();
    println!("{explanation}");
    assert_eq!(explanation.library, "mine");
    // The same integers, whoever computes them.
    let native = Session::new(&quantized.graph, SessionOptions::default())?;
    assert_eq!(outputs, native.run(&[images])?);
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
