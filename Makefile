# The commands for developers and CI. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help run test newest-postgres redis-modes chaos schemathesis clients containers balancers moving patroni mutants bench lint fmt clean-local

help: ## lists these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'

run: ## starts a private PostgreSQL and Redis and the service, and prints a buyer's session; Ctrl-C stops everything
	@bash scripts/run.sh

test: ## runs every test, on servers of its own (ARGS="…" goes to cargo test)
	@bash scripts/test.sh $(ARGS)

newest-postgres: ## runs the tests of the database on the newest PostgreSQL that a package carries (ARGS="…" goes to cargo test)
	@bash scripts/newest-postgres.sh $(ARGS)

redis-modes: ## runs the black-box tests on a Redis Cluster of three masters, then behind Sentinels (MODES="cluster sentinel", ARGS="…" goes to the tests)
	@bash scripts/redis-modes.sh $(ARGS)

chaos: ## kills every part during a sale and checks the promises, on servers of its own (SEED=1 ROUNDS=20)
	@bash scripts/chaos.sh

schemathesis: ## sends valid and invalid requests generated from the OpenAPI document to an instance (SEED=1)
	@bash scripts/schemathesis.sh

clients: ## lints the OpenAPI documents, and generates clients from them that must compile strictly, buy and operate
	@bash scripts/clients.sh

balancers: ## sells through each load balancer of docs/balancers.md while instances are stopped and killed (BINARY=PATH, ARGS="nginx aws")
	@bash scripts/balancers.sh $(if $(BINARY),$(abspath $(BINARY))) $(ARGS)

moving: ## moves PostgreSQL with the commands of docs/moving-postgresql.md while buyers buy (BINARY=PATH)
	@bash scripts/moving.sh $(BINARY)

patroni: ## kills and switches over the primary of docs/patroni.md while buyers buy from three instances (BINARY=PATH, RUNS=1)
	@bash scripts/patroni.sh $(BINARY)

containers: ## builds the image and runs Compose on an engine of its own, as root (BINARY=PATH: with a program that is built)
	@bash scripts/containers.sh $(BINARY)

mutants: ## removes each protection in a copy and checks that its tests fail (ARGS="epoch drain")
	@bash scripts/mutants.sh $(ARGS)

bench: ## measures the service, on servers of its own (ARGS="--only flow --runs 1", ARGS=--list)
	@bash scripts/bench.sh $(ARGS)

lint: ## checks formatting, clippy and documentation; warnings are errors
	cargo fmt --check
	cargo clippy --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

fmt: ## formats the code
	cargo fmt

clean-local: ## stops and removes the servers that a killed `make run` left below .local/
	@for services in .local/*/services; do [ ! -e "$$services" ] || bash scripts/services.sh down "$$services"; done
	@rm -rf .local
