"""Train between graphs: one parameter server and two workers on loopback, asynchronously."""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path

import tensorflow as tf
from small_model import data, loss, write_config

import graphquant_qat as amct

v1 = tf.compat.v1


def main(folder: Path) -> None:
    config_file, record_file = write_config(folder)
    jobs = {"ps": 1, "worker": 2}
    ports = {job: [_free_port() for _ in range(count)] for job, count in jobs.items()}
    cluster = tf.train.ClusterSpec(
        {job: [f"127.0.0.1:{port}" for port in found] for job, found in ports.items()}
    )
    servers = {
        (job, index): v1.train.Server(cluster, job_name=job, task_index=index)
        for job, count in jobs.items()
        for index in range(count)
    }
    graphs = [_worker_graph(index, cluster, config_file, record_file) for index in range(2)]
    placed = {
        variable.op.name: [
            graph[0].get_operation_by_name(variable.op.name).device for graph in graphs
        ]
        for variable in graphs[0][0].get_collection("variables")
    }
    with v1.Session(servers["worker", 0].target, graph=graphs[0][0]) as chief:
        chief.run(graphs[0][3])
        losses: dict[int, list[float]] = {0: [], 1: []}

        def work(index: int) -> None:
            graph, step, value, _ = graphs[index]
            with v1.Session(servers["worker", index].target, graph=graph) as session:
                for _ in range(40):
                    losses[index].append(float(session.run([value, step])[0]))

        threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        clips = {
            name: [
                float(chief.run(graphs[0][0].get_tensor_by_name(f"{name}/Read/ReadVariableOp:0")))
            ]
            for name in placed
            if "ULQ" in name
        }
        with v1.Session(servers["worker", 1].target, graph=graphs[1][0]) as other:
            for name, values in clips.items():
                read = graphs[1][0].get_tensor_by_name(f"{name}/Read/ReadVariableOp:0")
                values.append(float(other.run(read)))
    print(json.dumps({"losses": losses, "clips": clips, "placed": placed}))


def _worker_graph(
    index: int, cluster: tf.train.ClusterSpec, config_file: str, record_file: str
) -> tuple[tf.Graph, tf.Operation, tf.Tensor, tf.Operation]:
    graph = tf.Graph()
    with graph.as_default():
        v1.set_random_seed(0)
        setter = v1.train.replica_device_setter(
            cluster=cluster, worker_device=f"/job:worker/task:{index}"
        )
        with v1.device(setter):
            x, labels = (tf.constant(values) for values in data())
            value = loss(v1.placeholder_with_default(x, x.shape), labels)
        # Outside of the device scope: the clips must find their way to the server themselves.
        amct.create_quant_retrain_model(graph, config_file, record_file)
        with v1.device(setter):
            step = v1.train.GradientDescentOptimizer(0.05).minimize(value)
        return graph, step, value, v1.global_variables_initializer()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
