//! Attributes of LSTM, GRU and RNN.

use super::node::{Error, attribute, float, int, lack, size, text};
use crate::proto::AttributeProto;
use crate::proto::attribute_proto::AttributeType;
use tq_graph::op::{Direction, RecurrentAttrs, RecurrentKind};

pub(super) fn recurrent(
    kind: RecurrentKind,
    attrs: &RecurrentAttrs,
    opset: i64,
) -> Result<Vec<AttributeProto>, Error> {
    let direction = match attrs.direction {
        Direction::Forward => "forward",
        Direction::Reverse => "reverse",
        Direction::Bidirectional => "bidirectional",
    };
    let mut list = vec![text("direction", direction), size("hidden_size", attrs.hidden_size)];
    let defaults = kind.default_activations();
    if attrs.activations.chunks(defaults.len()).any(|functions| functions != defaults) {
        let functions = &attrs.activations;
        list.push(AttributeProto {
            strings: functions.iter().map(|f| f.name().as_bytes().to_vec()).collect(),
            ..attribute("activations", AttributeType::Strings)
        });
        let alpha: Vec<f32> = functions.iter().filter_map(|f| f.parameters().0).collect();
        let beta: Vec<f32> = functions.iter().filter_map(|f| f.parameters().1).collect();
        for (name, values) in [("activation_alpha", alpha), ("activation_beta", beta)] {
            if !values.is_empty() {
                list.push(AttributeProto { floats: values, ..attribute(name, AttributeType::Floats) });
            }
        }
    }
    list.extend(attrs.clip.map(|clip| float("clip", clip)));
    if attrs.batch_first {
        if opset < 14 {
            return lack("layout 1", 14);
        }
        list.push(int("layout", 1));
    }
    match kind {
        RecurrentKind::Lstm { input_forget } => list.push(int("input_forget", i64::from(input_forget))),
        RecurrentKind::Gru { linear_before_reset } => {
            list.push(int("linear_before_reset", i64::from(linear_before_reset)));
        }
        RecurrentKind::Rnn => {}
    }
    Ok(list)
}
