"""The operator's side: plays Ansible playbooks on rigs, over one SSH session each."""
