"""Train under MirroredStrategy on two logical CPU devices; print the losses and the clips."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tensorflow as tf
from small_model import data, loss, write_config

import graphquant_qat as amct

v1 = tf.compat.v1


def main(folder: Path) -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    config_file, record_file = write_config(folder)
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(0)
        strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
        with strategy.scope():
            dataset = tf.data.Dataset.from_tensor_slices(data()).repeat().batch(16)
            iterator = strategy.make_dataset_iterator(dataset)
            optimizer = v1.train.GradientDescentOptimizer(0.05)
            writers = []

            def step(inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
                value = loss(*inputs)
                ops = amct.create_quant_retrain_model(graph, config_file, record_file)
                writers.append(ops[-1])
                trained = optimizer.apply_gradients(optimizer.compute_gradients(value))
                with tf.control_dependencies([trained]):
                    return tf.identity(value)

            per_replica = strategy.run(step, args=(iterator.get_next(),))
            mean_loss = strategy.reduce("MEAN", per_replica, axis=None)
        with v1.Session() as session:
            session.run([v1.global_variables_initializer(), iterator.initializer])
            losses = [float(session.run(mean_loss)) for _ in range(40)]
            clips = {
                variable.op.name: [
                    float(session.run(part))
                    for part in strategy.experimental_local_results(variable)
                ]
                for variable in v1.global_variables()
                if "ULQ" in variable.op.name
            }
            records = [session.run(writer).decode() for writer in writers]
    print(json.dumps({"losses": losses, "clips": clips, "records": records}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
