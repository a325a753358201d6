"""Workers whose credentials may read a store in a bucket and not write to it, on a server that asks for rights."""

from __future__ import annotations

import json
import os
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from affstore import FeatureStore
from affstore.flows.runners.dask import on_scheduler
from affstore.flows.worker_checks import WorkerNeeds
from affstore.store.contract.errors import SpecError, StoreUnavailableError
from affstore.store.engine.objects import check_bucket_writable, objects_of
from tests.conftest import moto_server
from tests.dask_cluster import dask_cluster, joined

PLACE = "rights/lab/store"
READS = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}
WRITES = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": f"arn:aws:s3:::{PLACE}/*"}
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """A server that asks for rights, a store there, and the environment of users: `owner`, `reader` and `keeper`."""
    with moto_server() as endpoint:
        yield _users_of(endpoint)


def _users_of(endpoint):
    import boto3

    known = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    anyone = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    boto3.client("s3", **known, **anyone).create_bucket(Bucket="rights")
    iam = boto3.client("iam", **known, **anyone)
    found = {}
    for name, rights in (("owner", [ALL]), ("reader", [READS]), ("keeper", [READS, WRITES])):
        iam.create_user(UserName=name)
        policy = json.dumps({"Version": "2012-10-17", "Statement": rights})
        iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        found[name] = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }
    # From now on moto looks at who asks for what.
    plain = {"Content-Type": "text/plain"}
    asks = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", b"0", plain, method="POST")
    urllib.request.urlopen(asks).read()
    return found


@pytest.fixture
def as_user(users, monkeypatch):
    """Be one of the users."""

    def be(name):
        for variable, value in users[name].items():
            monkeypatch.setenv(variable, value)

    return be


def keys(url):
    return set(objects_of(url).sizes())


def test_a_look_whether_a_store_can_be_written_leaves_nothing(as_user):
    as_user("owner")
    url = FeatureStore.create(f"s3://{PLACE}").url
    before = keys(url)
    check_bucket_writable(url)
    assert keys(url) == before


def test_credentials_that_may_not_delete_leave_one_object_of_no_bytes_that_gc_removes(as_user):
    from affstore.store.engine.accounting import account_for

    as_user("owner")
    store = FeatureStore.create(f"s3://{PLACE}")
    before = keys(store.url)
    as_user("keeper")
    for _ in range(2):
        check_bucket_writable(store.url)
    (left,) = keys(store.url) - before
    as_user("owner")
    found = account_for(store.url, store.repository).objects[left]
    assert (found.state, found.size) == ("garbage", 0)
    store.repository.garbage_collect(datetime.now(UTC) + timedelta(minutes=1))  # `affstore gc` a day later
    assert left not in keys(store.url)


def test_credentials_that_may_only_read_are_refused(as_user):
    as_user("owner")
    url = FeatureStore.create(f"s3://{PLACE}").url
    as_user("reader")
    assert FeatureStore(url).records() == []
    with pytest.raises(StoreUnavailableError, match="these credentials may use it"):
        check_bucket_writable(url)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_worker_that_may_only_read_is_named_before_the_run(users, as_user, tmp_path):
    as_user("owner")
    store = FeatureStore.create(f"s3://{PLACE}")
    before = keys(store.url)
    with dask_cluster(tmp_path, ("--name", "writes")) as (address, processes):
        as_user("reader")
        processes.append(joined(address, tmp_path, "--name", "reads"))
        as_user("owner")
        with on_scheduler(address) as runner:
            from distributed import Client

            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(2)
                workers = client.scheduler_info(n_workers=-1)["workers"]
            (reads,) = (at for at, worker in workers.items() if worker["name"] == "reads")
            with pytest.raises(SpecError) as caught:
                runner.check(WorkerNeeds(store.url, store.snapshot))
    said = str(caught.value)
    assert said.count("The worker ") == 1
    assert said.startswith(f"The worker {reads} on ")
    assert "give it credentials that may read and write there" in said
    assert keys(store.url) == before
    assert os.environ["AWS_ACCESS_KEY_ID"] == users["owner"]["AWS_ACCESS_KEY_ID"]
