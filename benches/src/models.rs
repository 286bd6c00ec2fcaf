//! Whole networks with weights by chance, and the small one of `tq demo`, which has learned.

use crate::product::normal;
use crate::{Mode, reals};
use torsh_quantization::model::builder::{
    Builder, Conv2d, Flatten, GlobalAvgPool, LSTM, Linear, MaxPool2d, ReLU, ReLU6,
};
use torsh_quantization::model::{GraphError, Model, ValueId, load_model_bytes};
use torsh_quantization::prelude::*;
use torsh_quantization::ptq::quantize_fx;
use torsh_quantization::qconfig::{BackendConfig, ObserverConfig, QuantSpec, int8_qconfig};

/// Anything that goes wrong: nothing does for the networks of this crate.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A float network and what it is run on.
pub struct Net {
    /// How it is named in tables.
    pub name: String,
    /// The float network.
    pub graph: Graph,
    /// One tensor an input.
    pub inputs: Vec<Tensor>,
    /// What else it is calibrated with, besides [`Net::inputs`].
    pub calibration: Vec<Tensor>,
    /// Whether activations get their parameters in every run.
    pub dynamic: bool,
}

impl Net {
    fn new(name: impl Into<String>, b: Builder, dims: &[usize]) -> Result<Self, Error> {
        let input = Tensor::new(dims, reals(11, dims.iter().product()))?;
        let graph = b.build()?;
        Ok(Self { name: name.into(), graph, inputs: vec![input], calibration: Vec::new(), dynamic: false })
    }

    /// With weights of matrices and windows that are normally distributed, as those of trained networks nearly are: of the standard
    /// deviation that keeps variances through a ReLU (He and others, 2015). The builder's own are evenly distributed.
    fn with_normal_weights(mut self) -> Result<Self, Error> {
        // Far from each other.
        let seeds = (0u32..).map(|n| n.wrapping_mul(0x9E37_79B9));
        for (seed, value) in seeds.zip(&mut self.graph.values) {
            let Some(weights) = value.constant.as_mut().filter(|weights| weights.dims().len() > 1) else {
                continue;
            };
            let dims = weights.dims().to_vec();
            // What one output adds up; the first axis of an LSTM's weights is its directions, the second its gates.
            let fan: usize = if dims.len() == 3 { dims[2] } else { dims[1..].iter().product() };
            let deviation = (2.0 / fan as f32).sqrt();
            let values = normal(seed, dims.iter().product()).into_iter().map(|w| w * deviation).collect();
            *weights = Tensor::new(&dims, values)?;
        }
        Ok(self)
    }

    /// It quantized in one of the modes: calibrated on its inputs, or with parameters of every run, in mode B.
    ///
    /// # Errors
    /// What quantizing it fails with.
    pub fn quantized(&self, mode: Mode) -> Result<Graph, Error> {
        if self.dynamic {
            let rules = QConfigDict::new()
                .set_module_type::<torsh_quantization::qconfig::Linear>(default_dynamic_qconfig())
                .set_module_type::<torsh_quantization::qconfig::LSTM>(default_dynamic_qconfig());
            return Ok(quantize_dynamic(self.graph.clone(), rules, DType::I8)?.graph);
        }
        let mut qconfig = int8_qconfig();
        if mode == Mode::A1 {
            let spec = QuantSpec { quant_max: 127, ..QuantSpec::u8_affine() };
            let observer = MinMaxObserver::default().config();
            if let ObserverConfig::MinMax { eps, mode, .. } = observer {
                qconfig = qconfig.activation(ObserverConfig::MinMax { spec, eps, mode });
            }
        }
        let rules = QConfigDict::new().set_global(qconfig);
        let backend = BackendConfig { overflow_safe_weights: mode == Mode::A2, ..BackendConfig::default() };
        let prepared = quantize_fx(self.graph.clone(), rules, backend)?;
        for batch in self.inputs.iter().chain(&self.calibration) {
            prepared.forward(batch)?;
        }
        Ok(convert(prepared)?.graph)
    }
}

/// Names layers one after the other.
struct Layers {
    b: Builder,
    count: usize,
}

impl Layers {
    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}", self.count)
    }

    fn conv(&mut self, x: ValueId, conv: Conv2d, act: Act) -> Result<ValueId, GraphError> {
        let name = self.name("conv");
        let x = self.b.layer(name, x, conv)?;
        let name = self.name("act");
        match act {
            Act::None => Ok(x),
            Act::Relu => self.b.layer(name, x, ReLU),
            Act::Relu6 => self.b.layer(name, x, ReLU6),
        }
    }

    fn head(mut self, x: ValueId, channels: usize) -> Result<Builder, GraphError> {
        let x = self.b.layer("pool", x, GlobalAvgPool)?;
        let x = self.b.layer("flatten", x, Flatten::default())?;
        let x = self.b.layer("classifier", x, Linear::new(channels, 1000))?;
        self.b.output("logits", x)?;
        self.b.initialize(5)?;
        Ok(self.b)
    }
}

#[derive(Clone, Copy)]
enum Act {
    None,
    Relu,
    Relu6,
}

const IMAGE: [usize; 4] = [1, 3, 224, 224];

fn image() -> Result<(Layers, ValueId), GraphError> {
    let mut b = Model::builder();
    let x = b.input("image", DType::F32, IMAGE.map(Into::into))?;
    Ok((Layers { b, count: 0 }, x))
}

/// ResNet-18 (basic blocks) or ResNet-50 (bottlenecks), batch normalization folded away.
///
/// # Errors
/// None: the layers fit each other.
pub fn resnet(deep: bool) -> Result<Net, Error> {
    let (mut net, x) = image()?;
    let conv = |from, to, kernel: usize, stride: usize| {
        Conv2d::new(from, to, kernel).stride(stride).padding(kernel / 2)
    };
    let x = net.conv(x, conv(3, 64, 7, 2), Act::Relu)?;
    let mut x = net.b.layer("maxpool", x, MaxPool2d::new(3).stride(2).padding(1))?;
    let (mut from, expand) = (64, if deep { 4 } else { 1 });
    let blocks = if deep { [3, 4, 6, 3] } else { [2, 2, 2, 2] };
    for (stage, (blocks, width)) in blocks.into_iter().zip([64, 128, 256, 512]).enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let to = width * expand;
            let y = if deep {
                let y = net.conv(x, conv(from, width, 1, 1), Act::Relu)?;
                let y = net.conv(y, conv(width, width, 3, stride), Act::Relu)?;
                net.conv(y, conv(width, to, 1, 1), Act::None)?
            } else {
                let y = net.conv(x, conv(from, width, 3, stride), Act::Relu)?;
                net.conv(y, conv(width, width, 3, 1), Act::None)?
            };
            let same = stride == 1 && from == to;
            let shortcut = if same { x } else { net.conv(x, conv(from, to, 1, stride), Act::None)? };
            let sum = net.b.add(y, shortcut)?;
            let name = net.name("act");
            (x, from) = (net.b.layer(name, sum, ReLU)?, to);
        }
    }
    Net::new(if deep { "resnet50" } else { "resnet18" }, net.head(x, from)?, &IMAGE)?.with_normal_weights()
}

/// MobileNetV2, batch normalization folded away.
///
/// # Errors
/// None: the layers fit each other.
pub fn mobilenet_v2() -> Result<Net, Error> {
    let (mut net, x) = image()?;
    let stem = Conv2d::new(3, 32, 3).stride(2usize).padding(1usize);
    let (mut x, mut from) = (net.conv(x, stem, Act::Relu6)?, 32);
    // Expansion, channels, repeats, stride of the first.
    for (expand, to, repeats, first) in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ] {
        for block in 0..repeats {
            let (stride, hidden): (usize, usize) = (if block == 0 { first } else { 1 }, from * expand);
            let mut y = x;
            if expand != 1 {
                y = net.conv(y, Conv2d::new(from, hidden, 1), Act::Relu6)?;
            }
            let depthwise = Conv2d::new(hidden, hidden, 3).stride(stride).padding(1usize).groups(hidden);
            y = net.conv(y, depthwise, Act::Relu6)?;
            y = net.conv(y, Conv2d::new(hidden, to, 1), Act::None)?;
            x = if stride == 1 && from == to { net.b.add(x, y)? } else { y };
            from = to;
        }
    }
    let x = net.conv(x, Conv2d::new(from, 1280, 1), Act::Relu6)?;
    Net::new("mobilenet-v2", net.head(x, 1280)?, &IMAGE)?.with_normal_weights()
}

/// A linear layer that quantizes its input in every run.
///
/// # Errors
/// None: the layers fit each other.
pub fn dynamic_linear(batch: usize, from: usize, to: usize) -> Result<Net, Error> {
    let mut b = Model::builder();
    let x = b.input("x", DType::F32, [batch.into(), from.into()])?;
    let y = b.layer("linear", x, Linear::new(from, to))?;
    b.output("y", y)?;
    b.initialize(5)?;
    let name = format!("dynamic-linear-{batch}x{from}x{to}");
    Ok(Net { dynamic: true, ..Net::new(name, b, &[batch, from])?.with_normal_weights()? })
}

/// An LSTM that quantizes its inputs and its states in every run.
///
/// # Errors
/// None: the layers fit each other.
pub fn dynamic_lstm(steps: usize, batch: usize, from: usize, hidden: usize) -> Result<Net, Error> {
    let mut b = Model::builder();
    let x = b.input("x", DType::F32, [steps.into(), batch.into(), from.into()])?;
    let y = b.layer("lstm", x, LSTM::new(from, hidden))?;
    b.output("y", y)?;
    b.initialize(5)?;
    let name = format!("dynamic-lstm-{steps}x{batch}x{from}x{hidden}");
    Ok(Net { dynamic: true, ..Net::new(name, b, &[steps, batch, from])?.with_normal_weights()? })
}

/// The classifier of digits that `tq demo` has, on one digit of its own data.
///
/// # Errors
/// When the files of the demo cannot be read.
pub fn digits() -> Result<Net, Error> {
    let graph = load_model_bytes(include_bytes!("../../crates/tq-cli/demo/model.onnx"), None)?;
    let read = |bytes: &'static [u8]| -> Result<Vec<Tensor>, Error> {
        let mut archive = ndarray_npy::NpzReader::new(std::io::Cursor::new(bytes))?;
        let name = archive.names()?.into_iter().next().ok_or("an archive without arrays")?;
        let codes: ndarray::ArrayD<u8> = archive.by_name(&name)?;
        let dims: Vec<usize> = std::iter::once(1).chain(codes.shape()[1..].iter().copied()).collect();
        let digits = codes.outer_iter().take(16);
        let tensor = |digit: ndarray::ArrayViewD<u8>| {
            Ok(Tensor::new(&dims, digit.iter().map(|&c| f32::from(c) / 255.0).collect())?)
        };
        digits.map(tensor).collect()
    };
    let calibration = read(include_bytes!("../../crates/tq-cli/demo/calib_x_u8.npz"))?;
    let mut inputs = read(include_bytes!("../../crates/tq-cli/demo/eval_x_u8.npz"))?;
    inputs.truncate(1);
    Ok(Net { name: "digits".into(), graph, inputs, calibration, dynamic: false })
}
