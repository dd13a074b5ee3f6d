FROM python:3.11-slim AS base
WORKDIR /rowmill
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY flows flows
COPY tasks tasks
COPY schemas schemas
COPY sandbox sandbox
RUN pip install --no-cache-dir -c constraints.txt ".[fast,fleet,s3]" && rm -rf /rowmill
# Jobs, inputs and outputs are in the folder that is mounted here.
WORKDIR /data

# For Prefect's docker workers, which bring the command of each flow run.
FROM base AS flow
CMD ["prefect", "flow-run", "execute"]

FROM base
ENTRYPOINT ["rowmill"]
CMD ["--help"]
