"""Runs a real Galaxy on loopback, headless: planemo tests our tools and workflows on it, and a browser their form.

The tools are packed as for the Tool Shed, so that nothing is tested that a server would not get. Their jobs run
through Pulsar, as on a remote cluster: with a tool's <required_files> and no other files, and in a Python that holds
the packages of its <requirements> and no others. After the first install nothing is fetched.
"""
