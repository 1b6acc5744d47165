"""A Ray cluster of several nodes on this machine, as a program: prints its address and processes, and stays."""

import json
import os
import signal
import sys
import time


def main(environments: dict[str, dict[str, str]]) -> None:
    """Start a head without processors and these nodes with their environments, of one processor or PROCESSORS."""
    from ray.cluster_utils import Cluster

    sizes = {"object_store_memory": 80_000_000}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "wait": False, **sizes},
    )
    nodes = {
        name: cluster.add_node(
            wait=False,
            num_cpus=int(more.get("PROCESSORS", "1")),
            env_vars={"PEBENCH_TEST_NODE": name, **more},
            **sizes,
        )
        for name, more in environments.items()
    }
    cluster.wait_for_nodes(timeout=250)
    raylets = {name: node.all_processes["raylet"][0].process.pid for name, node in nodes.items()}
    ids = {name: node.node_id for name, node in nodes.items()}
    print(json.dumps({"address": cluster.address, "raylets": raylets, "ids": ids}), flush=True)

    def stop(*_: object) -> None:
        cluster.shutdown()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    parent = os.getppid()
    while os.getppid() == parent:  # a cluster outlives no test
        time.sleep(0.5)
    cluster.shutdown()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
