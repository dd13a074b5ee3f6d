FROM python:3.11-slim
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
ENTRYPOINT ["rowmill"]
CMD ["--help"]
