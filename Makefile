# What people and CI type. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help run test chaos schemathesis mutants bench lint fmt clean-local

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'

run: ## a private PostgreSQL and Redis, the service, and a buyer's session to paste; Ctrl-C stops all of it
	@bash scripts/run.sh

test: ## every test, on servers of its own (ARGS="…" goes to cargo test)
	@bash scripts/test.sh $(ARGS)

chaos: ## every part dies in the middle of a sale, on servers of its own (SEED=1 ROUNDS=20)
	@bash scripts/chaos.sh

schemathesis: ## requests made of the OpenAPI document, good and bad, against a live instance (SEED=1)
	@bash scripts/schemathesis.sh

mutants: ## takes each protection out and sees that its tests go red, in a copy (ARGS="epoch drain")
	@bash scripts/mutants.sh $(ARGS)

bench: ## what the service does in a second, on servers of its own (ARGS="--only flow --runs 1", ARGS=--list)
	@bash scripts/bench.sh $(ARGS)

lint: ## formatting, clippy and documentation, without a warning
	cargo fmt --check
	cargo clippy --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

fmt: ## formats the code
	cargo fmt

clean-local: ## stops and removes what a killed `make run` left below .local/
	@for services in .local/*/services; do [ ! -e "$$services" ] || bash scripts/services.sh down "$$services"; done
	@rm -rf .local
